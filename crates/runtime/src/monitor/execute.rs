//! Later programs in the same container.
//!
//! What must stay true: nothing is waited for here: the seat's answer and the program's own first words arrive through the loop.

use std::collections::VecDeque;
use std::os::fd::AsFd;

use shipway_sys::{namespace, process, socket};

use super::seat::Seat;
use super::serve::Monitor;
use super::session::Session;
use crate::message::{Answer, ExecuteRequest, Failure, LONGEST, Report, SeatOrder, Step};

/// Every namespace a later program shares with the first one.
pub(super) const ALL: u64 = namespace::MOUNT | namespace::PID | namespace::NETWORK | namespace::IPC | namespace::UTS | namespace::CGROUP;

/// Programs ordered from the seat and not yet cloned: session numbers, in order.
#[derive(Default)]
pub(super) struct Ordered(VecDeque<u32>);

impl Ordered {
    pub(super) fn is_waiting(&self) -> bool {
        !self.0.is_empty()
    }
}

impl Monitor {
    /// Orders a program; the answer follows on the connection that is attached to the returned session.
    pub(super) fn order(&mut self, seat: &mut Seat, mut request: ExecuteRequest) -> Result<u32, Failure> {
        let terminal_step = |error| Failure::new(Step::Terminal, error);
        if self.first().ended.is_some() {
            return Err(Failure::said(Step::Protocol, "the container has ended"));
        }
        let (mut session, theirs) =
            Session::open(request.terminal, request.attach.stdin, self.devpts.as_fd(), request.program.uid).map_err(terminal_step)?;
        session.exec = Some(request.id);
        session.input_once = true;
        session.tied = request.tied;
        let (ours, error_line) = socket::pair().map_err(terminal_step)?;
        session.starting = Some(ours);
        let mut handles = vec![error_line.as_fd()];
        handles.extend(theirs.iter().map(AsFd::as_fd));
        request.program.seccomp = match &self.filter {
            Some(filter) if request.confined => {
                handles.push(filter.as_fd());
                Some(4)
            }
            _ => None,
        };
        let pidfd = process::open_pidfd(self.subject.pid).map_err(|error| Failure::new(Step::Join, error))?;
        handles.push(pidfd.as_fd());
        seat.order_program(&SeatOrder::Execute { program: Box::new(request.program), joins: ALL }, &handles)?;
        let number = self.add(session);
        self.ordered.0.push_back(number);
        Ok(number)
    }

    /// The seat has cloned, or not, the program ordered first. Returns its session if it lives, and whether the seat does.
    pub(super) fn hear_seat(&mut self, seat: &mut Seat) -> (Option<u32>, bool) {
        let answer = seat.answer();
        let stays = !matches!(&answer, Err(failure) if failure.step == Step::Clone && failure.errno == 0);
        let Some(number) = self.ordered.0.pop_front() else { return (None, stays) };
        match answer {
            Ok(pid) => {
                if let Some(session) = self.sessions.get_mut(&number) {
                    session.pid = Some(pid);
                }
                (Some(number), stays)
            }
            Err(failure) => {
                self.refuse(number, failure);
                (None, stays)
            }
        }
    }

    /// A starting program has spoken or become the real one.
    pub(super) fn hear_starting(&mut self, number: u32) {
        let Some(session) = self.sessions.get_mut(&number) else { return };
        let Some(line) = session.starting.take() else { return };
        let message = socket::receive(line.as_fd(), LONGEST);
        match message {
            Ok(None) => {
                let pid = session.pid.map_or(0, rustix::process::Pid::as_raw_pid);
                self.tell(number, &Answer::Started { pid });
            }
            Ok(Some(message)) => {
                let failure = match serde_json::from_slice(&message.bytes) {
                    Ok(Report::Failed(failure)) => failure,
                    _ => Failure::said(Step::Protocol, "the program said something unexpected"),
                };
                self.refuse(number, failure);
            }
            Err(error) => self.refuse(number, Failure::new(Step::Protocol, error)),
        }
    }

    fn refuse(&mut self, number: u32, failure: Failure) {
        self.tell(number, &Answer::Failed(failure));
        self.close_session(number);
    }
}
