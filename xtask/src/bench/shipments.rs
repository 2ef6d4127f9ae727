//! Cases about pulls and pushes, between every engine and the same registry (see [`Harbour`]).

use std::time::Duration;

use super::engines::Engine;
use super::harbour::{Goods, Harbour};
use super::stage::Stage;

/// What a case about shipping does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shipment {
    /// The image of many layers comes to where nothing of it is.
    PullLarge,
    /// The same with the image whose one layer has many small files.
    PullSmallFiles,
    /// The large image goes to where all of it is.
    PushUnchanged,
    /// An image of one large layer goes to where nothing of it is.
    PushFirst,
}

/// One engine's part in a case.
pub(super) struct Voyage<'a> {
    pub(super) engine: &'a dyn Engine,
    pub(super) harbour: &'a Harbour,
    pub(super) stage: &'a Stage,
    /// Names what this engine pushes.
    pub(super) place: &'a str,
}

impl Shipment {
    fn goods(self, harbour: &Harbour) -> Option<&Goods> {
        match self {
            Self::PullLarge | Self::PushUnchanged => Some(&harbour.large),
            Self::PullSmallFiles => Some(&harbour.small_files),
            Self::PushFirst => None,
        }
    }

    /// The engine's own commands for this; `None` when it lacks one.
    pub(super) fn is_possible(self, engine: &dyn Engine) -> bool {
        match self {
            Self::PullLarge | Self::PullSmallFiles => engine.pull("").is_some(),
            Self::PushUnchanged => engine.push("").and(engine.tag("", "")).is_some(),
            Self::PushFirst => engine.push("").is_some(),
        }
    }
}

impl Voyage<'_> {
    /// Before the first round.
    pub(super) fn prepare(&self, shipment: Shipment) -> Result<(), String> {
        if shipment != Shipment::PushUnchanged {
            return Ok(());
        }
        let (from, to) = (self.pulled(&self.harbour.large), self.unchanged());
        let calls = [self.engine.pull(&from), self.engine.tag(&from, &to), self.engine.push(&to)];
        calls.into_iter().flatten().try_for_each(|call| call.timed(&self.stage.log()).map(drop))
    }

    /// Before each round: away with what the last one left.
    pub(super) fn begin_round(&self, shipment: Shipment) -> Result<(), String> {
        match shipment {
            Shipment::PullLarge | Shipment::PullSmallFiles => self.forget(shipment),
            Shipment::PushUnchanged => {}
            Shipment::PushFirst => {
                self.forget(shipment);
                for call in self.engine.import(&self.harbour.first_tar, &self.first()) {
                    call.timed(&self.stage.log())?;
                }
            }
        }
        Ok(())
    }

    /// Does it once; how long it took.
    pub(super) fn act(&self, shipment: Shipment) -> Result<Duration, String> {
        let call = match shipment {
            Shipment::PullLarge => self.engine.pull(&self.pulled(&self.harbour.large)),
            Shipment::PullSmallFiles => self.engine.pull(&self.pulled(&self.harbour.small_files)),
            Shipment::PushUnchanged => self.engine.push(&self.unchanged()),
            Shipment::PushFirst => self.engine.push(&self.first()),
        };
        call.ok_or("no such command")?.timed(&self.stage.log())
    }

    /// After a first push: how many bytes lie in the registry.
    pub(super) fn stored(&self, shipment: Shipment) -> Result<Option<u64>, String> {
        if shipment != Shipment::PushFirst {
            return Ok(None);
        }
        self.harbour.stored(self.stage, &format!("first/{}", self.place), "1").map(Some)
    }

    /// Counts the files of what was pulled, in a container of it, where the engine has containers.
    pub(super) fn prove(&self, shipment: Shipment) -> Result<(), String> {
        let Some(goods) = shipment.goods(self.harbour) else { return Ok(()) };
        let script = "/bin/busybox find /cargo -type f | /bin/busybox wc -l";
        let Some(call) = self.engine.run(&self.pulled(goods), &["/bin/busybox", "sh", "-c", script]) else { return Ok(()) };
        let printed = call.output(&self.stage.log())?;
        if printed == goods.files.to_string() { Ok(()) } else { Err(format!("the image has {printed} files instead of {}", goods.files)) }
    }

    /// Removes what the case brought; removing what is not there fails, which is what we want anyway.
    pub(super) fn forget(&self, shipment: Shipment) {
        let mut names = vec![shipment.goods(self.harbour).map_or_else(|| self.first(), |goods| self.pulled(goods))];
        if shipment == Shipment::PushUnchanged {
            names.push(self.unchanged());
        }
        for call in names.iter().flat_map(|name| self.engine.forget(name)) {
            let _ = call.timed(&self.stage.log());
        }
    }

    fn pulled(&self, goods: &Goods) -> String {
        format!("{}/{}", self.harbour.address(), goods.name)
    }

    fn unchanged(&self) -> String {
        format!("{}/unchanged/{}:1", self.harbour.address(), self.place)
    }

    fn first(&self) -> String {
        format!("{}/first/{}:1", self.harbour.address(), self.place)
    }
}
