//! Displays of a build: a live picture on a terminal, plain lines elsewhere, the raw events for programs, or nothing but the result.
//!
//! All are renderings of the same events (`SolveStatus` lines), gathered in a `Trace`.
//! What must stay true: everything goes to standard error, so that `shipway build -q` can be read by a script; a frame depends on nothing but the
//! trace, the time and the size of the terminal, so that tests compare whole frames.

mod colours;
mod failure;
mod plain;
mod terminal;
#[cfg(test)]
mod tests;
mod trace;

use super::exit::{Failure, Outcome};
use super::human;
use super::output;
use shipway_wire::progress::SolveStatus;
use trace::Trace;

pub(crate) use colours::Colours;

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// A live picture.
    Terminal,
    /// Lines.
    Plain,
    /// Nothing.
    Quiet,
    /// The events themselves.
    RawJson,
}

impl Mode {
    /// Parses `--progress`; `auto` is a picture when standard error is a terminal.
    ///
    /// # Errors
    /// A mode nobody knows.
    pub(crate) fn parse(text: &str) -> Outcome<Self> {
        Ok(match text {
            "auto" | "" => {
                if output::error_is_terminal() {
                    Self::Terminal
                } else {
                    Self::Plain
                }
            }
            "tty" => Self::Terminal,
            "plain" => Self::Plain,
            "quiet" | "none" => Self::Quiet,
            "rawjson" => Self::RawJson,
            other => {
                let failure = Failure::usage(format!("invalid progress mode: {other}"));
                let known = ["auto", "tty", "plain", "quiet", "rawjson"];
                return Err(failure.hint(format!("modes are {}", known.join(", "))));
            }
        })
    }
}

/// A display of one build.
pub(crate) struct Display {
    mode: Mode,
    trace: Trace,
    plain: plain::Plain,
    picture: terminal::Picture,
    replayed: bool,
}

impl Display {
    /// A display of a build that runs now.
    pub(crate) fn new(mode: Mode, colours: Colours) -> Self {
        Self { mode, trace: Trace::default(), plain: plain::Plain::default(), picture: terminal::Picture::new(colours), replayed: false }
    }

    /// A display of a build that is over, on standard output.
    pub(crate) fn replay(mode: Mode) -> Self {
        Self { replayed: true, ..Self::new(mode, Colours::none()) }
    }

    fn write(&self, text: &str) -> Outcome {
        match (text.is_empty(), self.replayed) {
            (true, _) => Ok(()),
            (false, true) => output::text(text),
            (false, false) => output::error_bytes(text.as_bytes()),
        }
    }

    /// Takes in one line of events.
    pub(crate) fn show(&mut self, status: &SolveStatus) -> Outcome {
        self.trace.apply(status);
        match self.mode {
            Mode::Plain => {
                let text = self.plain.advance(&mut self.trace, false);
                self.write(&text)
            }
            Mode::RawJson => {
                let line = serde_json::to_string(status).map_err(|error| Failure::new(error.to_string()))?;
                self.write(&format!("{line}\n"))
            }
            Mode::Terminal | Mode::Quiet => Ok(()),
        }
    }

    /// Redraws a picture; the other modes have nothing to redraw.
    pub(crate) fn tick(&mut self) -> Outcome {
        if self.mode != Mode::Terminal {
            return Ok(());
        }
        let text = self.picture.redraw(&self.trace, human::now().nanoseconds(), size(), false);
        self.write(&text)
    }

    /// Whether any program wrote anything.
    pub(crate) fn has_log(&self) -> bool {
        self.trace.vertexes.iter().any(|step| !step.log.lines.is_empty() || !step.log.partial.is_empty())
    }

    /// Says of everything that still runs that nobody waits for it any more.
    pub(crate) fn cancel(&mut self) {
        self.trace.cancel(human::now().nanoseconds());
    }

    /// Shows the end: the last frame, the logs of what failed, and the warnings.
    pub(crate) fn finish(&mut self, succeeded: bool) -> Outcome {
        let text = match self.mode {
            Mode::Plain => self.plain.advance(&mut self.trace, true),
            Mode::Terminal => self.picture.redraw(&self.trace, human::now().nanoseconds(), size(), true),
            Mode::Quiet | Mode::RawJson => String::new(),
        };
        self.write(&text)?;
        if matches!(self.mode, Mode::Plain | Mode::Terminal) {
            if !succeeded {
                self.write(&failure::excerpt(&self.trace))?;
            }
            self.write(&failure::warnings(&self.trace))?;
        } else if self.mode == Mode::Quiet && !succeeded {
            self.write(&failure::excerpt(&self.trace))?;
        }
        Ok(())
    }
}

/// Rows and columns to draw in.
fn size() -> (usize, usize) {
    super::terminal::size().map_or((24, 80), |(rows, columns)| (usize::from(rows), usize::from(columns)))
}
