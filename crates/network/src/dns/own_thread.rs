//! The thread on which the name server answers: an event loop of its own, so that a question wakes one thread, once, and builds and pulls that keep the
//! daemon's other threads busy do not make names slow. It ends when this is dropped.

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use crate::{Error, Result};

#[derive(Debug)]
pub(super) struct OwnThread {
    handle: Handle,
    /// Dropping it ends the loop.
    _stop: oneshot::Sender<()>,
}

impl OwnThread {
    pub(super) fn start() -> Result<Self> {
        let wrong = |error| Error::kernel("start the name server")(shipway_sys::Error::from_io("clone3()", &error));
        let runtime = Builder::new_current_thread().enable_all().build().map_err(wrong)?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let work = move || drop(runtime.block_on(stopped));
        std::thread::Builder::new().name("shipway-names".to_owned()).spawn(work).map_err(wrong)?;
        Ok(Self { handle, _stop: stop })
    }

    /// Where its tasks are spawned.
    pub(super) fn handle(&self) -> &Handle {
        &self.handle
    }
}
