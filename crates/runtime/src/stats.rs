//! What a container has used, as the kernel counts it.

use rustix::process::Pid;
use shipway_sys::cgroup::Usage;

/// One reading.
#[derive(Debug, Clone, Default)]
pub struct RawStats {
    /// CPU, memory, processes and block devices, from the cgroup. The seat is not counted in `pids`.
    pub usage: Usage,
    /// Per interface, loopback left out.
    pub network: Vec<NetworkUsage>,
}

/// One interface, from `/proc/PID/net/dev`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetworkUsage {
    /// Its name inside the container.
    pub name: String,
    /// Received.
    pub rx_bytes: u64,
    /// Received.
    pub rx_packets: u64,
    /// Received.
    pub rx_errors: u64,
    /// Received.
    pub rx_dropped: u64,
    /// Sent.
    pub tx_bytes: u64,
    /// Sent.
    pub tx_packets: u64,
    /// Sent.
    pub tx_errors: u64,
    /// Sent.
    pub tx_dropped: u64,
}

/// The counters of every interface but `lo` that process `pid` sees.
pub(crate) fn network_usage(pid: Pid) -> Vec<NetworkUsage> {
    let text = std::fs::read_to_string(format!("/proc/{}/net/dev", pid.as_raw_pid())).unwrap_or_default();
    parse(&text)
}

/// Two heading lines, then `name: ` and sixteen numbers (proc_net_dev: eight received, eight sent).
fn parse(text: &str) -> Vec<NetworkUsage> {
    let mut found = Vec::new();
    for line in text.lines().skip(2) {
        let Some((name, numbers)) = line.split_once(':') else { continue };
        let numbers: Vec<u64> = numbers.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        let ([rx_bytes, rx_packets, rx_errors, rx_dropped, ..], Some([tx_bytes, tx_packets, tx_errors, tx_dropped, ..])) =
            (numbers.as_slice(), numbers.get(8..))
        else {
            continue;
        };
        let name = name.trim().to_owned();
        if name == "lo" {
            continue;
        }
        found.push(NetworkUsage {
            name,
            rx_bytes: *rx_bytes,
            rx_packets: *rx_packets,
            rx_errors: *rx_errors,
            rx_dropped: *rx_dropped,
            tx_bytes: *tx_bytes,
            tx_packets: *tx_packets,
            tx_errors: *tx_errors,
            tx_dropped: *tx_dropped,
        });
    }
    found
}

#[cfg(test)]
mod tests {
    #[test]
    fn interfaces_are_read_and_loopback_is_left_out() {
        let text = "Inter-| Receive\n face |bytes\n    lo: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n  eth0: 100 2 0 1 0 0 0 0 200 3 0 4 0 0 0 0\nbad: 1\n";
        let found = super::parse(text);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].rx_bytes, found[0].rx_dropped, found[0].tx_bytes, found[0].tx_dropped), (100, 1, 200, 4));
    }
}
