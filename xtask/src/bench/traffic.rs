//! Cases about networks: containers on bridges, names, and traffic through published ports.
//!
//! Every daemon lives in a network namespace of its own (see [`in_own_network`]), where it may make bridges and rules as it likes; "the host" of these
//! cases is that namespace, and its address [`HOST_ADDRESS`].

use std::net::UdpSocket;
use std::time::Duration;

use super::engines::Engine;
use super::invocation::Invocation;
use super::stage::Stage;
use super::workloads::BASE;

/// Marks the program that asks for names, inside a container's network.
pub(super) const ASK: &str = "--ask-for-names";

/// An address of the host that is not its loopback's.
const HOST_ADDRESS: &str = "192.0.2.1";
const PORT: u16 = 18080;
/// So much is fetched in one download.
const DOWNLOAD: &str = "268435456";

/// What a case about networks does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Traffic {
    /// A container on the default bridge that runs `true` and is removed.
    Run,
    /// The same with a published port.
    RunPublished,
    /// So many of them at once.
    RunAtOnce(u32),
    /// So many containers started at once on one network of their own.
    StartAtOnce(u32),
    /// So many questions for a container's name, one after the other.
    Names(u32),
    /// One large file through a published port of the host's address.
    Download,
    /// The same by 127.0.0.1.
    DownloadByLoopback,
    /// So many small requests, each on a connection of its own.
    Requests(u32),
}

/// A daemon's command in a network namespace of its own.
pub(super) fn in_own_network(daemon: &Invocation) -> Invocation {
    let script = format!("ip link set lo up && ip addr add {HOST_ADDRESS}/32 dev lo && exec \"$@\"");
    daemon.in_shell(&script).after("unshare", &["--net"])
}

impl Traffic {
    /// Makes what the case needs.
    pub(super) fn prepare(self, engine: &dyn Engine, client: &Invocation, stage: &Stage) -> Result<(), String> {
        let scripts: Vec<String> = match self {
            Self::Run | Self::RunPublished | Self::RunAtOnce(_) => return Ok(()),
            Self::StartAtOnce(_) => vec!["\"$@\" network create bench".to_owned()],
            Self::Names(_) => vec![
                "\"$@\" network create bench".to_owned(),
                format!("\"$@\" run --detach --name bench-web --network bench {BASE} sleep 1000000"),
                format!("\"$@\" run --detach --name bench-asker --network bench {BASE} sleep 1000000"),
            ],
            Self::Download | Self::DownloadByLoopback | Self::Requests(_) => {
                let serve = format!(
                    "mkdir /www && head -c {DOWNLOAD} /dev/zero > /www/large && echo hi > /www/small && exec httpd -f -p 80 -h /www"
                );
                vec![format!("\"$@\" run --detach --name bench-web --publish {PORT}:80 {BASE} sh -c '{serve}'")]
            }
        };
        for script in scripts {
            client.in_shell(&script).timed(&stage.log())?;
        }
        let mut ready = Ok(());
        for _ in 0..200 {
            ready = self.act(engine, client, stage).map(drop);
            if ready.is_ok() || self.is_a_start() {
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        ready?;
        self.undo_round(client, stage)
    }

    /// Does the thing once; how long it took.
    pub(super) fn act(self, engine: &dyn Engine, client: &Invocation, stage: &Stage) -> Result<Duration, String> {
        let in_network = |call: Invocation| {
            let daemon = engine.daemon().ok_or("no daemon")?;
            Ok::<_, String>(call.after("nsenter", &[&format!("--net=/proc/{daemon}/ns/net")]))
        };
        let fetch = |address: &str, what: &str| {
            let url = format!("http://{address}:{PORT}/{what}");
            in_network(Invocation::new("curl").args([
                "--silent",
                "--show-error",
                "--fail",
                "--noproxy",
                "*",
                "--output",
                "/dev/null",
                &url,
            ]))
        };
        let call = match self {
            Self::Run => client.clone().args(["run", "--rm", BASE, "true"]),
            Self::RunPublished => client.clone().args(["run", "--rm", "--publish", &format!("{PORT}:80"), BASE, "true"]),
            Self::RunAtOnce(count) => client.in_shell(&format!("for n in $(seq {count}); do \"$@\" run --rm {BASE} true & done; wait")),
            Self::StartAtOnce(count) => client.in_shell(&format!(
                "for n in $(seq {count}); do \"$@\" run --detach --name burst-$n --network bench {BASE} sleep 1000000 & done; wait"
            )),
            Self::Names(count) => {
                let pid = client.clone().args(["inspect", "--format", "{{.State.Pid}}", "bench-asker"]).output(&stage.log())?;
                let program = std::env::current_exe().map_err(|error| format!("cannot find this program: {error}"))?;
                let call = Invocation::new(program).args(["bench", ASK, "bench-web", &count.to_string()]);
                call.after("nsenter", &[&format!("--net=/proc/{pid}/ns/net")])
            }
            Self::Download => fetch(HOST_ADDRESS, "large")?,
            Self::DownloadByLoopback => fetch("127.0.0.1", "large")?,
            Self::Requests(count) => fetch(HOST_ADDRESS, &format!("small?[1-{count}]"))?,
        };
        call.timed(&stage.log())
    }

    /// Leaves the engine as the round found it, and checks that the round did what it should; outside the clock.
    pub(super) fn undo_round(self, client: &Invocation, stage: &Stage) -> Result<(), String> {
        let Self::StartAtOnce(count) = self else { return Ok(()) };
        let script = format!(
            "test $(\"$@\" ps --quiet --filter name=burst- | wc -l) -eq {count}; all=$?; \"$@\" rm --force $(seq -f burst-%.0f {count}) && exit $all"
        );
        client.in_shell(&script).timed(&stage.log()).map(drop)
    }

    /// Removes what `prepare` made; what is not there does not matter.
    pub(super) fn clean_up(client: &Invocation, stage: &Stage) {
        let _ = client.in_shell("\"$@\" rm --force bench-web bench-asker; \"$@\" network rm bench").timed(&stage.log());
    }

    fn is_a_start(self) -> bool {
        matches!(self, Self::StartAtOnce(_))
    }
}

/// Asks 127.0.0.11 for the address of a name, again and again; `words` are the name and how often.
pub(super) fn ask(words: &[String]) -> Result<(), String> {
    let [name, count] = words else { return Err(format!("{ASK} wants a name and a number")) };
    let count: u16 = count.parse().map_err(|_| format!("{ASK} wants a number"))?;
    let failed = |error: std::io::Error| format!("cannot ask for {name}: {error}");
    let socket = UdpSocket::bind("0.0.0.0:0").map_err(failed)?;
    socket.connect("127.0.0.11:53").map_err(failed)?;
    socket.set_read_timeout(Some(Duration::from_secs(5))).map_err(failed)?;
    for id in 0..count {
        let mut question = id.to_be_bytes().to_vec();
        // Recursion desired, one question.
        question.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
        question.push(u8::try_from(name.len()).map_err(|_| "the name is too long".to_owned())?);
        question.extend(name.as_bytes());
        // The root; type A, class IN.
        question.extend([0, 0, 1, 0, 1]);
        socket.send(&question).map_err(failed)?;
        let mut answer = [0; 512];
        let size = socket.recv(&mut answer).map_err(failed)?;
        if size < 12 || answer[..2] != id.to_be_bytes() || answer[3] & 0x0f != 0 || answer[7] == 0 {
            return Err(format!("the answer to question {id} is none: {:?}", &answer[..size]));
        }
    }
    Ok(())
}
