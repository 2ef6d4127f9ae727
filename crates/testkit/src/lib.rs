//! What tests of the whole product share: a daemon of their own, a client without a library, made-up images, disks that lose power.
//!
//! **Lives here**: fixtures and observers. **Never here**: expectations about the product; those are the tests'.
//! **Nouns**: `Daemon`, `Answer`, `Tar`, `Disk`, `Netns`, `Outcome`, `BadRegistry`, `SampleImage`, `Gate`, `Identity`.
//! **Invariants**: every fixture has folders, socket and cgroups of its own, so tests run in parallel; dropping one removes what it made, also after a
//! failed assertion; only processes in the fixture's own cgroups are ever killed. Nothing of the product is imported: what is wrong there cannot hide here.
//! **Start reading at**: `daemon.rs`.
//!
//! Helpers panic when the ground under a test breaks (no daemon, no socket): there is nobody above to handle it.

mod badreg;
mod browser;
mod daemon;
mod disk;
mod gate;
mod http;
mod identity;
mod image;
pub mod leftovers;
mod netns;
mod own_registry;
mod registry;
mod sample;
mod tar;
mod verbs;

pub use badreg::{Asked, BadRegistry, Delivery, Reply};
pub use browser::{Browser, artefact};
pub use daemon::{CANARY, Daemon, Setup};
pub use disk::Disk;
pub use gate::{Gate, Stop};
pub use http::{Answer, Streaming, call, open};
pub use identity::{Identity, Special};
pub use image::busybox_tar;
pub use netns::Netns;
pub use own_registry::OwnRegistry;
pub use registry::DebianRegistry;
pub use sample::{SampleImage, gzip, noise, sha256, sha512};
pub use tar::Tar;
pub use verbs::{Outcome, escape, split_frames};

/// Polls until `ready` says something; panics with `what` after `seconds`.
pub fn eventually<T>(what: &str, seconds: u64, mut ready: impl FnMut() -> Option<T>) -> T {
    let until = std::time::Instant::now() + std::time::Duration::from_secs(seconds);
    loop {
        if let Some(found) = ready() {
            return found;
        }
        assert!(std::time::Instant::now() < until, "{what} takes more than {seconds} s");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

/// Waits until a program has died by itself; until then, and when it does not, it stays where it is.
fn death_of(child: &mut Option<std::process::Child>, what: &str, seconds: u64) -> std::process::ExitStatus {
    let status = eventually(&format!("the death of the {what}"), seconds, || child.as_mut().expect("it runs").try_wait().expect("wait"));
    *child = None;
    status
}
