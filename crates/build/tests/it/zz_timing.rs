use crate::support::Bench;
use std::time::Instant;
#[tokio::test]
async fn zz_timing() {
    let bench = Bench::new();
    for n in 0..20000 { bench.file(&format!("lib/d{}/f{n}", n % 200), &format!("content {n}")); }
    let d = "FROM diamol/base\nCOPY . /app/\nRUN say x\n";
    for what in ["first", "cached", "cached"] { let t = Instant::now(); bench.build(d).await; println!("{what} {:?}", t.elapsed()); }
    bench.file("lib/d1/f1", "edited");
    for what in ["edited", "cached"] { let t = Instant::now(); bench.build(d).await; println!("{what} {:?}", t.elapsed()); }
    let small = Bench::new();
    small.file("a", "1");
    let mut text = "FROM diamol/base\n".to_owned();
    for n in 0..50 { text.push_str(&format!("RUN say {n}\nCOPY a /a{n}\n")); }
    for what in ["100 steps first", "100 steps cached", "100 steps cached"] { let t = Instant::now(); small.build(&text).await; println!("{what} {:?}", t.elapsed()); }
}
