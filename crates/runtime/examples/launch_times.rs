//! How long a launch takes, measured in this process: request to started, request to exit of `true`, and exec.
//!
//! `cargo run -p shipway-runtime --example launch_times --release -- [rounds] [pool]`. Needs root and /bin/busybox.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use shipway_model::{ContainerId, ExecId};
use shipway_runtime::{AttachOptions, BuildStepSpec, ContainerSpec, ExecSpec, ProcessSpec, RootFs, Runtime, RuntimeConfig};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<std::ffi::OsString> = std::env::args_os().collect();
    if shipway_runtime::personality(&arguments).is_some() {
        return Ok(());
    }
    let number = |index: usize, default: usize| arguments.get(index).and_then(|text| text.to_str()?.parse().ok()).unwrap_or(default);
    let (rounds, pool) = (number(1, 50), number(2, 3));
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(measure(rounds, pool))
}

async fn measure(rounds: usize, pool: usize) -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir_in("/dev/shm")?;
    let image = folder.path().join("image");
    std::fs::create_dir_all(image.join("bin"))?;
    std::fs::copy("/bin/busybox", image.join("bin/busybox"))?;
    for name in ["true", "sleep", "sh"] {
        std::os::unix::fs::symlink("busybox", image.join("bin").join(name))?;
    }
    let mut config = RuntimeConfig::new(folder.path().join("run"), format!("shipway-times-{}", std::process::id()));
    config.pool_size = pool;
    let runtime = Runtime::start(config)?;
    let process = |args: &[&str]| ProcessSpec { args: args.iter().map(|arg| (*arg).to_owned()).collect(), ..ProcessSpec::default() };
    let mut serial = 0u8;
    let mut root = |volatile: bool| -> std::io::Result<(ContainerId, RootFs, PathBuf)> {
        serial = serial.wrapping_add(1);
        let mut bytes = [serial; 32];
        bytes[..4].copy_from_slice(&std::process::id().to_le_bytes());
        let id = ContainerId::from_random(bytes);
        let base = folder.path().join(id.to_string());
        let _ = std::fs::remove_dir_all(&base);
        for name in ["upper", "work"] {
            std::fs::create_dir_all(base.join(name))?;
        }
        let root = RootFs { lowers: vec![image.clone()], upper: Some((base.join("upper"), base.join("work"))), volatile, plain: None };
        Ok((id, root, base.join("state")))
    };

    let (mut started, mut exited, mut gone) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        settle(&runtime, pool).await;
        let (id, root, state) = root(true)?;
        let spec = ContainerSpec::new(id, root, process(&["/bin/true"]), state);
        let begin = Instant::now();
        let running = runtime.launch(spec).await?;
        started.push(begin.elapsed());
        running.handle.wait().await;
        exited.push(begin.elapsed());
        running.handle.gone().await;
        gone.push(begin.elapsed());
    }
    let mut steps = Vec::new();
    for _ in 0..rounds {
        let (id, root, _) = root(true)?;
        let (sender, _receiver) = tokio::sync::mpsc::channel(4);
        tokio::time::sleep(Duration::from_millis(10)).await;
        let begin = Instant::now();
        runtime.run_step(BuildStepSpec::new(id, root, process(&["/bin/true"])), sender, tokio_util::sync::CancellationToken::new()).await?;
        steps.push(begin.elapsed());
    }
    let (id, root, state) = root(true)?;
    let running = runtime.launch(ContainerSpec::new(id, root, process(&["/bin/sleep", "1000"]), state)).await?;
    let (mut exec_started, mut exec_exited) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let spec = ExecSpec {
            id: ExecId::from_random([round as u8; 32]),
            process: process(&["/bin/true"]),
            attach: AttachOptions::NONE,
            privileged: false,
            tied: false,
        };
        let begin = Instant::now();
        let handle = running.handle.exec(spec).await?;
        exec_started.push(begin.elapsed());
        handle.wait().await;
        exec_exited.push(begin.elapsed());
    }
    running.handle.kill_all().await;
    running.handle.gone().await;
    for (what, times) in [
        ("launch: started", started),
        ("launch: exit known", exited),
        ("launch: torn down", gone),
        ("build step", steps),
        ("exec: started", exec_started),
        ("exec: exit known", exec_exited),
    ] {
        report(what, times);
    }
    Ok(())
}

async fn settle(runtime: &Runtime, pool: usize) {
    while runtime.parked() < pool {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[expect(clippy::print_stdout, reason = "an example's report")]
fn report(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |share: f64| times.get(((times.len() as f64 - 1.0) * share) as usize).copied().unwrap_or_default();
    println!("{what:20} min {:>9.3?}  median {:>9.3?}  p95 {:>9.3?}", at(0.0), at(0.5), at(0.95));
}
