//! The cases: what is timed, in words for the report and as actions for the measuring.

use super::options::{Options, is_chosen};
use super::shipments::Shipment;
use super::traffic::Traffic;
use super::workloads::{Inputs, Workload};
use super::yardsticks::Yardstick;

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Case {
    pub(super) name: &'static str,
    /// Exactly what is timed.
    pub(super) title: &'static str,
    pub(super) action: Action,
    /// Takes so long that fewer rounds have to do.
    pub(super) is_heavy: bool,
    pub(super) yardsticks: &'static [Yardstick],
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Action {
    Build(Subject, Warmth),
    /// A container that runs `true` and is removed.
    Run,
    /// `true` in a container that is running.
    Exec,
    /// Something about networks.
    Network(Traffic),
    /// A pull or a push.
    Ship(Shipment),
}

/// What is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    MultiStage,
    ManySteps,
    Tree,
    LargeLayer,
}

/// How much of it has been built before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Warmth {
    /// Nothing may be reused (`--no-cache`).
    Cold,
    /// The same, and image and caches are removed before every round, because they are too large to pile up.
    ColdAndAlone,
    /// Everything.
    Cached,
    /// Everything but one changed file.
    Edited,
}

impl Case {
    /// What the case builds, if it builds.
    pub(super) fn subject(&self) -> Option<Subject> {
        match self.action {
            Action::Build(subject, _) => Some(subject),
            Action::Run | Action::Exec | Action::Network(_) | Action::Ship(_) => None,
        }
    }
}

impl Subject {
    /// Part of the names of the images.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::MultiStage => "multi-stage",
            Self::ManySteps => "many-steps",
            Self::Tree => "tree",
            Self::LargeLayer => "large-layer",
        }
    }

    pub(super) fn workload(self, inputs: &Inputs) -> &Workload {
        match self {
            Self::MultiStage => &inputs.multi_stage,
            Self::ManySteps => &inputs.many_steps,
            Self::Tree => &inputs.tree,
            Self::LargeLayer => &inputs.large_layer,
        }
    }
}

const CASES: [Case; 22] = [
    case(
        "multi-stage-cold",
        "build of four stages (two independent; 3 RUN, 5 COPY, WORKDIR), --no-cache",
        Action::Build(Subject::MultiStage, Warmth::Cold),
    ),
    case("multi-stage-cached", "the same build, nothing changed", Action::Build(Subject::MultiStage, Warmth::Cached)),
    heavy(
        "steps-cold",
        "build of FROM and 50 RUN steps that write one small file each, --no-cache",
        Action::Build(Subject::ManySteps, Warmth::Cold),
        &[],
    ),
    case("steps-cached", "the same build, nothing changed", Action::Build(Subject::ManySteps, Warmth::Cached)),
    heavy(
        "tree-cold",
        "build of FROM, COPY . /src, RUN true; context of 20,000 files of 1-4 KiB in 200 folders, --no-cache",
        Action::Build(Subject::Tree, Warmth::Cold),
        &[],
    ),
    case("tree-cached", "the same build, nothing changed", Action::Build(Subject::Tree, Warmth::Cached)),
    case(
        "tree-edited",
        "the same build, one of the 20,000 files rewritten before each round",
        Action::Build(Subject::Tree, Warmth::Edited),
    ),
    heavy(
        "layer-1gib",
        "build of FROM and one RUN that writes 1 GiB (64 copies of 16 MiB of noise), --no-cache",
        Action::Build(Subject::LargeLayer, Warmth::ColdAndAlone),
        &[Yardstick::OurHash, Yardstick::HostHash, Yardstick::HostWrite],
    ),
    Case { yardsticks: &[Yardstick::Process], ..case("run", "run --rm --network none BASE true", Action::Run) },
    Case { yardsticks: &[Yardstick::Process], ..case("exec", "exec CONTAINER true, in a running container", Action::Exec) },
    case("net-run", "run --rm BASE true on the default bridge", Action::Network(Traffic::Run)),
    case("net-run-published", "the same with --publish 18080:80", Action::Network(Traffic::RunPublished)),
    heavy("net-run-20", "20 times run --rm BASE true at once on the default bridge", Action::Network(Traffic::RunAtOnce(20)), &[]),
    heavy("net-start-100", "100 containers started at once on one network", Action::Network(Traffic::StartAtOnce(100)), &[]),
    case("net-names", "2000 questions for a container's name, one after the other", Action::Network(Traffic::Names(2000))),
    case("net-download", "256 MiB by HTTP through a published port, at an address of the host", Action::Network(Traffic::Download)),
    case("net-download-loopback", "the same at 127.0.0.1", Action::Network(Traffic::DownloadByLoopback)),
    case("net-requests", "500 small HTTP requests through a published port, a connection each", Action::Network(Traffic::Requests(500))),
    heavy(
        "ship-pull",
        "pull of an image of 20 layers, 500 MiB of files in them; skopeo copies the layers as they are",
        Action::Ship(Shipment::PullLarge),
        &[Yardstick::Inflate, Yardstick::WriteLarge],
    ),
    heavy(
        "ship-pull-small-files",
        "pull of an image whose one layer has 50,000 files of 0.2-2 KB",
        Action::Ship(Shipment::PullSmallFiles),
        &[],
    ),
    case("ship-push-unchanged", "push of the image of 20 layers, all of which is there", Action::Ship(Shipment::PushUnchanged)),
    heavy(
        "ship-push-first",
        "push of an image whose one layer has 500 MiB of files nobody has seen",
        Action::Ship(Shipment::PushFirst),
        &[],
    ),
];

const fn case(name: &'static str, title: &'static str, action: Action) -> Case {
    Case { name, title, action, is_heavy: false, yardsticks: &[] }
}

const fn heavy(name: &'static str, title: &'static str, action: Action, yardsticks: &'static [Yardstick]) -> Case {
    Case { name, title, action, is_heavy: true, yardsticks }
}

/// The cases that were asked for, in the order of the table.
pub(super) fn chosen(options: &Options) -> Vec<Case> {
    CASES.into_iter().filter(|case| is_chosen(&options.cases, case.name)).collect()
}
