//! Measuring a case: every engine in turn, round after round, beginning with another engine each time.
//!
//! What must stay true: preparing, settling the disk, proving and removing happen outside the clock; an engine that fails once is out of this
//! case and its reason goes into the report; a result that is wrong counts as a failure, however fast it came.

use std::path::Path;
use std::time::Duration;

use super::cases::{Action, Case, Subject, Warmth};
use super::engines::{BuildRequest, Engine, Roster, Scope};
use super::harbour::Harbour;
use super::invocation::Invocation;
use super::options::Options;
use super::shipments::{Shipment, Voyage};
use super::stage::Stage;
use super::syscalls::{self, Counts};
use super::traffic::Traffic;
use super::workloads::{BASE, Inputs};
use super::yardsticks::Yardstick;

/// Everything that measuring needs to know.
pub(super) struct Bench<'a> {
    pub(super) options: &'a Options,
    pub(super) stage: &'a Stage,
    pub(super) inputs: &'a Inputs,
    pub(super) roster: &'a Roster,
    /// There where a case ships.
    pub(super) harbour: Option<&'a Harbour>,
}

/// A row of the table, with all that was seen.
pub(super) struct Outcome {
    pub(super) case: Case,
    pub(super) cells: Vec<Cell>,
    pub(super) yardsticks: Vec<(Yardstick, Vec<Duration>)>,
}

/// What one engine did in one case.
pub(super) struct Cell {
    pub(super) engine: &'static str,
    pub(super) samples: Vec<Duration>,
    /// The engine has no such command; a failure is something else.
    pub(super) is_unable: bool,
    pub(super) failure: Option<String>,
    /// Only for fully cached builds.
    pub(super) residue: Option<Residue>,
    /// Only for first pushes: bytes in the registry after each round.
    pub(super) stored: Vec<u64>,
    /// Only for our own engine.
    pub(super) counts: Option<Result<Counts, String>>,
}

/// What all rounds of a fully cached build left on the engine's file system.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Residue {
    pub(super) inodes: i64,
    pub(super) bytes: i64,
    pub(super) has_new_image: bool,
}

/// An engine at work on a case.
struct Seat<'a> {
    engine: &'a dyn Engine,
    image: String,
    container: String,
    /// The engine's name as a part of other names.
    place: String,
    cell: Cell,
}

impl Bench<'_> {
    /// Measures one case with every engine; fails only when the bench itself does. What was built stays when the next case builds the same.
    pub(super) fn measure(&self, case: Case, next: Option<Case>) -> Result<Outcome, String> {
        println!("{}: {}", case.name, case.title);
        let mut seats: Vec<Seat<'_>> = self.roster.present.iter().map(|engine| Seat::new(&**engine, case)).collect();
        for seat in &mut seats {
            seat.cell.is_unable = match case.action {
                Action::Build(..) => seat.engine.scope() == Scope::Shipping,
                Action::Ship(shipment) => seat.engine.scope() == Scope::Builds || !shipment.is_possible(seat.engine),
                _ => seat.engine.scope() != Scope::Everything,
            };
            seat.attempt(|seat| self.prepare(seat, case));
        }
        let rounds = if case.is_heavy { self.options.heavy_rounds } else { self.options.rounds };
        let mut yardsticks: Vec<(Yardstick, Vec<Duration>)> = case.yardsticks.iter().map(|yardstick| (*yardstick, Vec::new())).collect();
        for round in 0..rounds {
            self.edit(case, round)?;
            if round > 0 && !seats.is_empty() {
                seats.rotate_left(1);
            }
            for seat in &mut seats {
                seat.attempt(|seat| self.round(seat, case));
            }
            for (yardstick, samples) in &mut yardsticks {
                samples.push(yardstick.measure(self)?);
            }
        }
        for seat in &mut seats {
            seat.attempt(|seat| self.prove(seat, case));
        }
        // The traced run has an edit of its own.
        self.edit(case, rounds)?;
        for seat in &mut seats {
            seat.attempt(|seat| self.count(seat, case));
            let leaves_something = matches!(case.action, Action::Network(_) | Action::Ship(_));
            if leaves_something || next.is_none_or(|next| next.subject() != case.subject()) {
                self.clean_up(seat, case);
            }
        }
        let order = |seat: &Seat<'_>| self.roster.present.iter().position(|engine| engine.name() == seat.engine.name());
        seats.sort_by_key(order);
        let cells: Vec<Cell> = seats.into_iter().map(|seat| seat.cell).collect();
        for cell in &cells {
            println!("  {:16} {}", cell.engine, super::report::cell(cell));
        }
        Ok(Outcome { case, cells, yardsticks })
    }

    /// Brings an engine to where the case begins.
    fn prepare(&self, seat: &mut Seat<'_>, case: Case) -> Result<(), String> {
        match case.action {
            Action::Build(_, Warmth::Cold) if case.is_heavy => {}
            Action::Build(_, Warmth::ColdAndAlone) => {}
            Action::Build(subject, warmth) => {
                seat.build(self, subject, false)?;
                if warmth != Warmth::Cold {
                    // Some caches are only complete after they have been used once.
                    seat.build(self, subject, false)?;
                }
            }
            Action::Run => drop(seat.act(self, case)?),
            Action::Network(traffic) => {
                let Some(client) = seat.engine.networked_client() else { return seat.is_unable() };
                traffic.prepare(seat.engine, &client, self.stage)?;
            }
            Action::Ship(shipment) => seat.voyage(self)?.prepare(shipment)?,
            Action::Exec => {
                let start = seat.engine.start_container(BASE, &seat.container, &["sleep", "1000000"]);
                let Some(start) = start else { return seat.is_unable() };
                start.timed(&self.stage.log())?;
                seat.act(self, case)?;
            }
        }
        self.stage.settle(seat.engine.data_root())
    }

    /// Changes the one file; every round with other bytes, so that no engine has seen them.
    fn edit(&self, case: Case, round: usize) -> Result<(), String> {
        if let (Action::Ship(Shipment::PushFirst), Some(harbour)) = (case.action, self.harbour) {
            return harbour.remark(self.stage, &marker(round));
        }
        if !matches!(case.action, Action::Build(_, Warmth::Edited)) {
            return Ok(());
        }
        let path = &self.inputs.edited;
        let text = format!("{}\n{}", marker(round), "edited line\n".repeat(200));
        std::fs::write(path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        self.stage.settle(path)
    }

    /// One timed run.
    fn round(&self, seat: &mut Seat<'_>, case: Case) -> Result<(), String> {
        let root = seat.engine.data_root();
        if matches!(case.action, Action::Build(_, Warmth::ColdAndAlone)) {
            seat.forget(self);
        }
        if let Action::Ship(shipment) = case.action {
            seat.voyage(self)?.begin_round(shipment)?;
        }
        self.stage.settle(root)?;
        let is_cached = matches!(case.action, Action::Build(_, Warmth::Cached));
        let before = if is_cached { Some((self.usage(root)?, seat.image_id(self)?)) } else { None };
        let took = seat.act(self, case)?;
        if let (Action::Network(traffic), Some(client)) = (case.action, seat.engine.networked_client()) {
            traffic.undo_round(&client, self.stage)?;
        }
        self.stage.settle(root)?;
        seat.cell.samples.extend(took);
        if let Action::Ship(shipment) = case.action {
            let stored = seat.voyage(self)?.stored(shipment)?;
            seat.cell.stored.extend(stored);
        }
        if let Some(((inodes, bytes), image)) = before {
            let (inodes_after, bytes_after) = self.usage(root)?;
            let has_new_image = image != seat.image_id(self)?;
            let residue = seat.cell.residue.get_or_insert_default();
            residue.inodes += inodes_after - inodes;
            residue.bytes += bytes_after - bytes;
            residue.has_new_image |= has_new_image;
        }
        Ok(())
    }

    /// Runs a command in the finished image and compares what it prints.
    fn prove(&self, seat: &mut Seat<'_>, case: Case) -> Result<(), String> {
        if let Action::Ship(shipment) = case.action {
            return seat.voyage(self)?.prove(shipment);
        }
        let Action::Build(subject, warmth) = case.action else { return Ok(()) };
        let workload = subject.workload(self.inputs);
        let proof: Vec<&str> = workload.proof.iter().map(String::as_str).collect();
        let Some(call) = seat.engine.run(&seat.image, &proof) else { return Ok(()) };
        expect(&call.output(&self.stage.log())?, &workload.expected)?;
        if warmth == Warmth::Edited {
            let rounds = if case.is_heavy { self.options.heavy_rounds } else { self.options.rounds };
            let Some(call) = seat.engine.run(&seat.image, &["head", "-n", "1", "/src/folder-100/file-50.txt"]) else { return Ok(()) };
            expect(&call.output(&self.stage.log())?, &marker(rounds - 1))?;
        }
        Ok(())
    }

    /// One more run of ours under strace.
    fn count(&self, seat: &mut Seat<'_>, case: Case) -> Result<(), String> {
        let Some(daemon) = seat.engine.daemon().filter(|_| seat.engine.name() == super::engines::OURS) else { return Ok(()) };
        if matches!(case.action, Action::Network(traffic) if !matches!(traffic, Traffic::Run | Traffic::RunPublished)) {
            return Ok(());
        }
        if matches!(case.action, Action::Build(_, Warmth::ColdAndAlone)) {
            seat.forget(self);
        }
        if let Action::Ship(shipment) = case.action {
            seat.voyage(self)?.begin_round(shipment)?;
        }
        seat.cell.counts = Some(syscalls::count(self.stage, daemon, || seat.act(self, case).map(drop)));
        Ok(())
    }

    /// Leaves the engine as the case found it; what cannot be removed is in nobody's way but the disk's.
    fn clean_up(&self, seat: &Seat<'_>, case: Case) {
        match case.action {
            Action::Build(..) => seat.forget(self),
            Action::Run => {}
            Action::Ship(shipment) => {
                if let Ok(voyage) = seat.voyage(self) {
                    voyage.forget(shipment);
                }
            }
            Action::Network(_) => {
                if let Some(client) = seat.engine.networked_client() {
                    Traffic::clean_up(&client, self.stage);
                }
            }
            Action::Exec => {
                if let Some(call) = seat.engine.remove_container(&seat.container) {
                    let _ = call.timed(&self.stage.log());
                }
            }
        }
    }

    /// Used inodes and bytes of a file system.
    fn usage(&self, root: &Path) -> Result<(i64, i64), String> {
        let call = Invocation::new("stat").args(["--file-system", "--format", "%c %d %b %f %S"]).path(root);
        let text = call.output(&self.stage.log())?;
        let numbers: Vec<i64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        match numbers[..] {
            [inodes, free_inodes, blocks, free_blocks, size] => Ok((inodes - free_inodes, (blocks - free_blocks) * size)),
            _ => Err(format!("stat printed \"{text}\"")),
        }
    }
}

impl<'a> Seat<'a> {
    fn new(engine: &'a dyn Engine, case: Case) -> Self {
        let place = engine.name().to_lowercase().replace(' ', "-");
        let subject = case.subject().map_or(case.name, Subject::name);
        let cell = Cell {
            engine: engine.name(),
            samples: Vec::new(),
            is_unable: false,
            failure: None,
            residue: None,
            stored: Vec::new(),
            counts: None,
        };
        let (image, container) = (format!("localhost/bench-{subject}-{place}:latest"), format!("bench-{place}"));
        Self { engine, image, container, place, cell }
    }

    /// Does a step unless an earlier one failed.
    fn attempt(&mut self, step: impl FnOnce(&mut Self) -> Result<(), String>) {
        if self.cell.failure.is_some() || self.cell.is_unable {
            return;
        }
        if let Err(reason) = step(self) {
            println!("  {} fails: {reason}", self.engine.name());
            self.cell.failure = Some(reason);
        }
    }

    fn is_unable(&mut self) -> Result<(), String> {
        self.cell.is_unable = true;
        Ok(())
    }

    /// Does the thing that the case is about; `None` when the engine has no such command.
    fn act(&mut self, bench: &Bench<'_>, case: Case) -> Result<Option<Duration>, String> {
        let call = match case.action {
            Action::Build(subject, warmth) => {
                return self.build(bench, subject, matches!(warmth, Warmth::Cold | Warmth::ColdAndAlone)).map(Some);
            }
            Action::Run => self.engine.run(BASE, &["true"]),
            Action::Exec => self.engine.exec(&self.container, &["true"]),
            Action::Network(traffic) => {
                let Some(client) = self.engine.networked_client() else { return self.is_unable().map(|()| None) };
                return traffic.act(self.engine, &client, bench.stage).map(Some);
            }
            Action::Ship(shipment) => return self.voyage(bench)?.act(shipment).map(Some),
        };
        let Some(call) = call else { return self.is_unable().map(|()| None) };
        call.timed(&bench.stage.log()).map(Some)
    }

    fn build(&self, bench: &Bench<'_>, subject: Subject, no_cache: bool) -> Result<Duration, String> {
        let context = &subject.workload(bench.inputs).context;
        let call = self.engine.build(BuildRequest { context, image: &self.image, no_cache });
        call.ok_or("it does not build")?.timed(&bench.stage.log())
    }

    fn image_id(&self, bench: &Bench<'_>) -> Result<String, String> {
        self.engine.image_id(&self.image).ok_or("it has no images")?.output(&bench.stage.log())
    }

    fn voyage<'b>(&'b self, bench: &'b Bench<'_>) -> Result<Voyage<'b>, String> {
        let harbour = bench.harbour.ok_or("no registry was set up")?;
        Ok(Voyage { engine: self.engine, harbour, stage: bench.stage, place: &self.place })
    }

    /// Removes image and caches; removing what is not there fails, which is what we want anyway.
    fn forget(&self, bench: &Bench<'_>) {
        for call in self.engine.forget(&self.image) {
            let _ = call.timed(&bench.stage.log());
        }
    }
}

fn marker(round: usize) -> String {
    format!("edited before round {round}")
}

fn expect(printed: &str, expected: &str) -> Result<(), String> {
    if printed == expected { Ok(()) } else { Err(format!("the image is wrong: printed {printed:?} instead of {expected:?}")) }
}
