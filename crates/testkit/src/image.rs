//! A root file system made of the host's busybox.

use std::process::Command;

use crate::Tar;

/// The names and groups that tests count on.
const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n";
const GROUP: &str = "root:x:0:\nuser:x:1000:\nextra:x:3000:user\nnogroup:x:65534:\n";

/// busybox with a link for each of its programs, and account files. Not finished, so that a test can add to it.
pub fn busybox_tar() -> Tar {
    let program = std::fs::read("/bin/busybox").expect("/bin/busybox: install the package busybox-static");
    let listed = Command::new("/bin/busybox").arg("--list").output().expect("busybox --list").stdout;
    let mut tar = Tar::new();
    for folder in ["bin", "etc", "home", "home/user", "var", "root"] {
        tar = tar.folder(folder, 0o755);
    }
    tar = tar.folder("tmp", 0o1777).program("bin/busybox", program).file("etc/passwd", PASSWD).file("etc/group", GROUP);
    for name in String::from_utf8_lossy(&listed).lines().filter(|name| *name != "busybox") {
        tar = tar.link(&format!("bin/{name}"), "busybox");
    }
    tar
}
