//! The event log of a build, told as `POST /build` tells it: step by step, in file order, in the words of dockerd 20.10.
//!
//! Steps may run at once; what a later one says is kept until the earlier ones are told. Texts are checked against it by `tests/it/parity.rs`.

use std::collections::HashMap;

use shipway_engine::builds::BuildFinished;
use shipway_engine::clock;
use shipway_engine::values::{BuildError, ProgressEvent, VertexId};
use shipway_model::{ContainerId, ImageId};
use shipway_wire::message::Message;

/// Tells one build.
#[derive(Debug, Default)]
pub(crate) struct Narrator {
    steps: Vec<Step>,
    by_vertex: HashMap<VertexId, usize>,
    /// The step being told.
    current: usize,
    /// Only the result is wanted.
    quiet: bool,
    /// Intermediate containers are removed, and that is told.
    remove: bool,
}

/// One instruction.
#[derive(Debug)]
struct Step {
    heading: String,
    kind: Kind,
    container: Option<ContainerId>,
    result: Option<(ImageId, bool)>,
    /// Output that arrived before its turn.
    early: Vec<Message>,
    /// The beginning of a character whose end has not arrived.
    torn: Vec<u8>,
}

/// What the end of a step sounds like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// `ARG` before the first `FROM`: only its heading is told.
    Global,
    /// `FROM`: its image is told, never "Using cache".
    Base,
    /// `FROM scratch`: an image that is none.
    Nothing,
    /// `COPY` and `ADD`: no container is made for them.
    Files,
    /// Anything else: dockerd makes an intermediate container, also to change a setting.
    Work,
}

impl Kind {
    fn of(display: &str, base_came: &mut bool) -> Self {
        let mut words = display.split_whitespace();
        let keyword = words.next().unwrap_or_default().to_uppercase();
        let before_base = !std::mem::replace(base_came, *base_came || keyword == "FROM");
        match keyword.as_str() {
            "ARG" if before_base => Self::Global,
            "FROM" if words.next() == Some("scratch") => Self::Nothing,
            "FROM" => Self::Base,
            "COPY" | "ADD" => Self::Files,
            _ => Self::Work,
        }
    }
}

impl Narrator {
    /// A narrator for a build that is told in full, or only its result.
    pub(crate) fn new(quiet: bool, remove: bool) -> Self {
        Self { quiet, remove, ..Self::default() }
    }

    /// What is to be said now that `event` happened.
    pub(crate) fn tell(&mut self, event: ProgressEvent) -> Vec<Message> {
        let mut said = Vec::new();
        match event {
            ProgressEvent::Plan { steps } => {
                for (index, step) in steps.iter().enumerate() {
                    self.by_vertex.extend(step.vertex.map(|vertex| (vertex, index)));
                }
                let mut base_came = false;
                self.steps = steps
                    .into_iter()
                    .map(|step| Step {
                        heading: format!("Step {}/{} : {}", step.number, step.total, step.display),
                        kind: Kind::of(&step.display, &mut base_came),
                        container: None,
                        result: None,
                        early: Vec::new(),
                        torn: Vec::new(),
                    })
                    .collect();
                self.announce(&mut said);
                self.advance(&mut said);
            }
            ProgressEvent::StepRunning { step, container } => self.say(
                step,
                |step| {
                    step.container = Some(container);
                    Some(Message::stream(format!(" ---> Running in {}\n", container.short())))
                },
                &mut said,
            ),
            ProgressEvent::Log { id, bytes, .. } => {
                if let Some(index) = self.by_vertex.get(&id).copied() {
                    self.say(index + 1, |step| step.text(&bytes).map(Message::stream), &mut said);
                }
            }
            // Findings of the checks belong to the other display; a flag that does nothing must be said in each.
            ProgressEvent::Warning { code, message, .. } if code == "CacheFromIgnored" => {
                said.push(Message::stream(format!("[Warning] {message}\n")));
            }
            ProgressEvent::StepImage { step, image, cached } => {
                if let Some(step) = step.checked_sub(1).and_then(|index| self.steps.get_mut(index)) {
                    step.result = Some((image, cached));
                }
                self.advance(&mut said);
            }
            _ => {}
        }
        if self.quiet { Vec::new() } else { said }
    }

    /// The end of a build that worked.
    pub(crate) fn success(&self, finished: &BuildFinished) -> Vec<Message> {
        if self.quiet {
            return vec![Message::stream(format!("{}\n", finished.image))];
        }
        // Findings of the checks belong to the other display; dockerd's classic builder has this one warning.
        let mut said = Vec::new();
        if !finished.unconsumed_args.is_empty() {
            said.push(Message::stream(format!(
                "[Warning] One or more build-args [{}] were not consumed\n",
                finished.unconsumed_args.join(" ")
            )));
        }
        // M-32: the name that was probably meant, where there is one.
        let near = finished.warnings.iter().filter(|warning| warning.starts_with("build argument ") && warning.contains("did you mean"));
        said.extend(near.map(|warning| Message::stream(format!("[Warning] {warning}\n"))));
        said.push(Message::aux(serde_json::json!({ "ID": finished.image.to_string() })));
        said.push(Message::stream(format!("Successfully built {}\n", finished.image.0.short())));
        said.extend(finished.tags.iter().map(|tag| Message::stream(format!("Successfully tagged {}\n", tag.familiar()))));
        said
    }

    /// What we know about a failure beyond dockerd's one line, which clients match on and which follows unchanged.
    ///
    /// A process that failed without a known remedy says it best itself, so nothing is added there.
    pub(crate) fn explained(&self, error: &BuildError) -> Vec<Message> {
        let is_worth_it = match error {
            BuildError::Step(failure) => failure.diagnostic.hint.is_some(),
            other => !other.diagnostics().is_empty(),
        };
        if self.quiet || !is_worth_it { Vec::new() } else { vec![Message::stream(error.render())] }
    }

    /// What was kept back when the build stopped: steps that ran beside the one that failed.
    pub(crate) fn interrupted(&mut self) -> Vec<Message> {
        let mut said = Vec::new();
        while !self.quiet && self.steps.iter().skip(self.current + 1).any(|step| !step.early.is_empty()) {
            self.current += 1;
            self.announce(&mut said);
        }
        said
    }

    /// Says something of step `number`, now when it is its turn.
    fn say(&mut self, number: usize, words: impl FnOnce(&mut Step) -> Option<Message>, said: &mut Vec<Message>) {
        let Some(index) = number.checked_sub(1) else { return };
        let Some(step) = self.steps.get_mut(index) else { return };
        let Some(message) = words(step) else { return };
        if index == self.current {
            said.push(message);
        } else {
            step.early.push(message);
        }
    }

    /// The heading of the step whose turn it is, and what it had to say already.
    fn announce(&mut self, said: &mut Vec<Message>) {
        if let Some(step) = self.steps.get_mut(self.current) {
            said.push(Message::stream(step.heading.clone()));
            said.push(Message::stream("\n"));
            said.append(&mut step.early);
        }
    }

    /// Ends every step whose turn it is and whose result is known.
    fn advance(&mut self, said: &mut Vec<Message>) {
        while let Some(step) = self.steps.get(self.current) {
            match (step.kind, step.result) {
                (Kind::Global, _) => {}
                (_, None) => return,
                (Kind::Nothing, Some(_)) => said.push(Message::stream(" ---> \n")),
                (Kind::Base, Some((image, _))) => said.push(Message::stream(format!(" ---> {}\n", image.0.short()))),
                (kind, Some((image, cached))) => {
                    if cached {
                        said.push(Message::stream(" ---> Using cache\n"));
                    }
                    // A setting is changed without a process; the container that dockerd makes for it is only told.
                    let unseen =
                        (kind == Kind::Work && !cached && step.container.is_none()).then(|| ContainerId::from_random(clock::random()));
                    if let Some(container) = unseen {
                        said.push(Message::stream(format!(" ---> Running in {}\n", container.short())));
                    }
                    if let Some(container) = step.container.or(unseen).filter(|_| self.remove) {
                        said.push(Message::stream(format!("Removing intermediate container {}\n", container.short())));
                    }
                    said.push(Message::stream(format!(" ---> {}\n", image.0.short())));
                }
            }
            self.current += 1;
            self.announce(said);
        }
    }
}

impl Step {
    /// Output as text. JSON has no half characters, so the beginning of one waits for its end; other bytes that are no text are replaced.
    fn text(&mut self, bytes: &[u8]) -> Option<String> {
        self.torn.extend_from_slice(bytes);
        let whole = match std::str::from_utf8(&self.torn) {
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            _ => self.torn.len(),
        };
        let rest = self.torn.split_off(whole);
        let text = String::from_utf8_lossy(&self.torn).into_owned();
        self.torn = rest;
        (!text.is_empty()).then_some(text)
    }
}

#[cfg(test)]
mod tests {
    use shipway_engine::values::{LogStream, PlannedStep};
    use shipway_model::{Digest, Timestamp};

    use super::*;

    fn image(name: &str) -> ImageId {
        ImageId(Digest::sha256_of(name.as_bytes()))
    }

    fn plan(displays: &[(&str, Option<u32>)]) -> ProgressEvent {
        let step = |(index, (display, vertex)): (usize, &(&str, Option<u32>))| PlannedStep {
            number: index + 1,
            total: displays.len(),
            display: (*display).to_owned(),
            stage: 0,
            vertex: vertex.map(VertexId),
        };
        ProgressEvent::Plan { steps: displays.iter().enumerate().map(step).collect() }
    }

    fn log(vertex: u32, bytes: &[u8]) -> ProgressEvent {
        ProgressEvent::Log { id: VertexId(vertex), stream: LogStream::Stdout, bytes: bytes.to_vec(), at: Timestamp::default() }
    }

    fn told(narrator: &mut Narrator, events: Vec<ProgressEvent>) -> String {
        events.into_iter().flat_map(|event| narrator.tell(event)).filter_map(|message| message.stream).collect()
    }

    #[test]
    fn a_build_reads_like_dockerds() {
        let container = ContainerId::from_random([7; 32]);
        let text = told(
            &mut Narrator::new(false, true),
            vec![
                plan(&[("FROM busybox", Some(0)), ("ENV a=b", None), ("RUN echo hi", Some(1))]),
                ProgressEvent::StepImage { step: 1, image: image("a"), cached: true },
                ProgressEvent::StepImage { step: 2, image: image("b"), cached: true },
                ProgressEvent::StepRunning { step: 3, container },
                log(1, b"hi\n"),
                ProgressEvent::StepImage { step: 3, image: image("c"), cached: false },
            ],
        );
        let (a, b, c) = (image("a").0.short(), image("b").0.short(), image("c").0.short());
        let id = container.short();
        assert_eq!(
            text,
            format!(
                "Step 1/3 : FROM busybox\n ---> {a}\nStep 2/3 : ENV a=b\n ---> Using cache\n ---> {b}\nStep 3/3 : RUN echo hi\n ---> Running in {id}\nhi\nRemoving intermediate container {id}\n ---> {c}\n"
            )
        );
    }

    #[test]
    fn a_setting_that_is_new_is_told_as_a_container_that_came_and_went() {
        let steps = &[("ARG V=1", None), ("FROM a", Some(0)), ("ENV a=b", None), ("COPY f /f", Some(1)), ("LABEL x=y", None)];
        let result = |step, name, cached| ProgressEvent::StepImage { step, image: image(name), cached };
        let events = vec![plan(steps), result(2, "a", true), result(3, "b", false), result(4, "c", false), result(5, "d", true)];
        let text = told(&mut Narrator::new(false, true), events);
        let lines: Vec<&str> = text.lines().map(|line| line.rsplit_once(' ').map_or(line, |(words, _)| words)).collect();
        assert_eq!(
            lines,
            [
                "Step 1/5 : ARG",
                "Step 2/5 : FROM",
                " --->",
                "Step 3/5 : ENV",
                " ---> Running in",
                "Removing intermediate container",
                " --->",
                "Step 4/5 : COPY f",
                " --->",
                "Step 5/5 : LABEL",
                " ---> Using",
                " --->",
            ]
        );
    }

    #[test]
    fn steps_that_run_at_once_are_told_in_file_order() {
        let text = told(
            &mut Narrator::new(false, false),
            vec![
                plan(&[("FROM a", Some(0)), ("RUN slow", Some(1)), ("RUN fast", Some(2))]),
                log(2, b"fast\n"),
                ProgressEvent::StepImage { step: 3, image: image("c"), cached: false },
                ProgressEvent::StepImage { step: 1, image: image("a"), cached: false },
                log(1, b"slow\n"),
                ProgressEvent::StepImage { step: 2, image: image("b"), cached: false },
            ],
        );
        let (slow, fast) = (text.find("slow\n ").unwrap(), text.rfind("fast\n ").unwrap());
        assert!(slow < fast, "{text}");
        assert!(text.ends_with(&format!(" ---> {}\n", image("c").0.short())));
    }

    #[test]
    fn a_build_that_stops_still_tells_what_it_kept_back() {
        let mut narrator = Narrator::new(false, true);
        told(
            &mut narrator,
            vec![plan(&[("FROM a", Some(0)), ("RUN x", Some(1)), ("RUN y", Some(2)), ("RUN z", Some(3))]), log(2, b"why\n")],
        );
        let text: String = narrator.interrupted().into_iter().filter_map(|message| message.stream).collect();
        assert_eq!(text, "Step 2/4 : RUN x\nStep 3/4 : RUN y\nwhy\n");
        assert_eq!(narrator.interrupted(), []);
    }

    #[test]
    fn a_character_cut_in_two_arrives_whole() {
        let text = told(
            &mut Narrator::new(false, true),
            vec![plan(&[("RUN x", Some(1))]), log(1, &"한".as_bytes()[..2]), log(1, &"한".as_bytes()[2..]), log(1, b"\xff\n")],
        );
        assert_eq!(text, "Step 1/1 : RUN x\n한\u{fffd}\n");
    }

    #[test]
    fn quiet_says_only_the_id() {
        let mut narrator = Narrator::new(true, true);
        assert_eq!(
            told(&mut narrator, vec![plan(&[("FROM a", None)]), ProgressEvent::StepImage { step: 1, image: image("a"), cached: false }]),
            ""
        );
        assert_eq!(narrator.success(&finished(&[], &["w"])), [Message::stream(format!("{}\n", image("x")))]);
        let words = Narrator::new(false, true).success(&finished(&[], &["w"]));
        assert_eq!(words[0].aux.as_ref().unwrap()["ID"], image("x").to_string());
        assert_eq!(words[1].stream.as_deref(), Some(format!("Successfully built {}\n", image("x").0.short()).as_str()));
        assert_eq!(words.len(), 2, "findings of the checks belong to the other display");
    }

    #[test]
    fn m_32_an_unconsumed_argument_is_told_in_dockerds_words_and_then_what_was_meant() {
        let near = "build argument \"FOOO\" is not used by any ARG: did you mean FOO (ARG on line 2)?";
        let far = "build argument \"NOPE\" is not used by any ARG";
        let words = Narrator::new(false, true).success(&finished(&["FOOO", "NOPE"], &["FromAsCasing: x (line 1)", near, far]));
        let said: Vec<&str> = words.iter().filter_map(|message| message.stream.as_deref()).take(2).collect();
        assert_eq!(said, ["[Warning] One or more build-args [FOOO NOPE] were not consumed\n", &format!("[Warning] {near}\n")]);
    }

    fn finished(unconsumed: &[&str], warnings: &[&str]) -> BuildFinished {
        let own = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        BuildFinished {
            id: shipway_model::BuildId::from_random([1; 32]),
            image: image("x"),
            tags: Vec::new(),
            cached_steps: 0,
            total_steps: 0,
            warnings: own(warnings),
            unconsumed_args: own(unconsumed),
        }
    }
}
