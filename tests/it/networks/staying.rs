//! What runs stays: connections, ports, names and logs, whatever becomes of the daemon.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use shipway_testkit::{Daemon, eventually};

use super::{daemon, shipway, try_shipway};
use crate::BINARY;

/// One connection to an echo, kept open.
struct Conversation {
    client: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Conversation {
    fn open(daemon: &Daemon, port: &str) -> Self {
        let mut command = daemon.netns().command("busybox");
        command.args(["nc", "127.0.0.1", port]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut client = command.spawn().expect("nc");
        let (to, from) = (client.stdin.take().expect("stdin"), client.stdout.take().expect("stdout"));
        Self { client, to, from: BufReader::new(from) }
    }

    #[track_caller]
    fn echoes(&mut self, word: &str) {
        writeln!(self.to, "{word}").expect("the connection is open");
        let mut line = String::new();
        self.from.read_line(&mut line).expect("the connection is open");
        assert_eq!(line.trim_end(), word);
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        let _ = self.client.kill();
        let _ = self.client.wait();
    }
}

/// A build of the product with other bytes, as an upgrade brings it.
fn rebuilt(daemon: &Daemon) -> std::path::PathBuf {
    let path = daemon.scratch().join("shipway-rebuilt");
    std::fs::copy(BINARY, &path).expect("copy");
    let mut file = std::fs::File::options().append(true).open(&path).expect("open");
    file.write_all(b"another build").expect("write");
    path
}

#[test]
fn connections_ports_names_and_logs_outlive_stop_death_and_upgrade_of_the_daemon() {
    let mut daemon = daemon();
    shipway(&daemon, "network create nat");
    shipway(&daemon, "run -d --name echo --network nat -p 800:80 box nc -l -p 80 -e cat");
    let ticking = "i=0; while true; do i=$((i+1)); echo tick $i; sleep 0.02; done";
    assert!(daemon.shipway(&["run", "-d", "--name", "ticker", "--network", "nat", "box", "sh", "-c", ticking]).status.success());
    let mut talk = eventually("the echo listens", 10, || {
        let listens = daemon.shipway(&["exec", "echo", "sh", "-c", "netstat -ltn | grep -q :80"]).status.success();
        listens.then(|| Conversation::open(&daemon, "800"))
    });
    talk.echoes("before");
    let upgrade = rebuilt(&daemon);
    for change in ["stop", "kill", "upgrade"] {
        match change {
            "stop" => assert!(daemon.stop().success()),
            "kill" => daemon.kill_9(),
            _ => {
                assert!(daemon.stop().success());
                daemon.use_binary(&upgrade);
            }
        }
        talk.echoes(&format!("without a daemon, {change}"));
        daemon.restart();
        talk.echoes(&format!("with a new daemon, {change}"));
        let looked_up = shipway(&daemon, "exec ticker nslookup -type=a echo");
        assert!(looked_up.contains("Name:\techo"), "{change}: {looked_up}");
        let (code, text) = try_shipway(&daemon, "run --rm -p 800:80 box true");
        assert!(code == Some(125) && text.contains("port 800 is used by container \"echo\""), "{change}: {text}");
    }
    shipway(&daemon, "stop -t 0 ticker");
    let log = shipway(&daemon, "logs ticker");
    let lost = log.lines().enumerate().find(|(index, line)| *line != format!("tick {}", index + 1));
    assert_eq!(lost, None, "every line is there, in order");
    // The new build starts, stops and removes what the old one made.
    shipway(&daemon, "restart -t 0 echo");
    drop(talk);
    daemon.remove_all_containers();
    daemon.assert_nothing_left();
}
