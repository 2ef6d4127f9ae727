//! What the words of `build` mean, and what is said when they mean nothing.

use super::plan::{Context, Dockerfile, Plan};
use std::fs;
use std::path::PathBuf;

/// A folder of its own, gone afterwards.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("shipway-build-plan-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(fs::canonicalize(path).unwrap())
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_dockerfile_in_the_context_is_named_relative_to_it() {
    let folder = Folder::new("inside");
    let file = folder.file("Dockerfile.test", "FROM scratch\n");
    folder.file("Dockerfile", "FROM scratch\n");
    let plain = Plan::of(folder.path(), None).unwrap();
    assert_eq!(plain, Plan { context: Context::Folder(folder.0.clone()), dockerfile: Dockerfile::InContext("Dockerfile".to_owned()) });
    let named = Plan::of(folder.path(), Some(&file)).unwrap();
    assert_eq!(named.dockerfile, Dockerfile::InContext("Dockerfile.test".to_owned()));
    let by_name = Plan::of(folder.path(), Some("Dockerfile.test")).unwrap();
    assert_eq!(by_name.dockerfile, Dockerfile::InContext("Dockerfile.test".to_owned()));
}

#[test]
fn a_dockerfile_outside_travels_as_text() {
    let (context, outside) = (Folder::new("context"), Folder::new("outside"));
    let file = outside.file("Other", "FROM scratch\n");
    outside.file("Other.dockerignore", "*.o\n");
    let plan = Plan::of(context.path(), Some(&file)).unwrap();
    let expected = Dockerfile::Text { name: "Other".to_owned(), text: "FROM scratch\n".to_owned(), ignore: Some("*.o\n".to_owned()) };
    assert_eq!(plan.dockerfile, expected);
}

#[test]
fn mistakes_name_the_right_command() {
    let folder = Folder::new("mistakes");
    let file = folder.file("Dockerfile", "FROM scratch\n");
    let failure = Plan::of(&file, None).unwrap_err();
    assert_eq!(failure.to_string(), format!("unable to prepare context: context must be a directory: {file}"));
    assert_eq!(
        failure.hints,
        [format!("the argument is the context directory; the Dockerfile is named with -f: shipway build -f {file} {}", folder.path())]
    );

    let failure = Plan::of(folder.path(), Some("Dockerfle")).unwrap_err();
    assert!(failure.to_string().ends_with("Dockerfle: no such file or directory"), "{failure}");
    assert!(failure.hints[0].starts_with("there is Dockerfile: shipway build -f "), "{:?}", failure.hints);

    let failure = Plan::of(&format!("{}/nope", folder.path()), None).unwrap_err();
    assert_eq!(failure.to_string(), format!("unable to prepare context: path \"{}/nope\" not found", folder.path()));
}
