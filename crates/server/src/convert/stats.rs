//! Counters as the engine reads them, into Docker's statistics.

use shipway_engine::containers::{Counted, StatsReading};
use shipway_model::Timestamp;
use shipway_wire::containers::{BlkioEntry, BlkioStats, CpuStats, CpuUsage, MemoryStats, NetworkStats, PidsStats, Stats, ThrottlingData};

/// One reading and, where there is one, the reading before.
pub(crate) fn stats(reading: &StatsReading, before: Option<&Counted>) -> Stats {
    let zero = Timestamp::GO_ZERO.to_rfc3339_nano();
    let named = Stats { name: format!("/{}", reading.name), id: reading.id.to_string(), ..Stats::default() };
    let Some(now) = &reading.counted else { return Stats { read: zero.clone(), preread: zero, ..named } };
    let usage = &now.container.usage;
    Stats {
        read: now.at.to_rfc3339_nano(),
        preread: before.map_or(zero, |before| before.at.to_rfc3339_nano()),
        pids_stats: PidsStats { current: usage.pids, limit: usage.pids_limit.unwrap_or(0) },
        blkio_stats: blkio(now),
        cpu_stats: cpu(now),
        precpu_stats: before.map(cpu).unwrap_or_default(),
        memory_stats: memory(now),
        networks: networks(now),
        ..named
    }
}

fn cpu(counted: &Counted) -> CpuStats {
    let usage = &counted.container.usage;
    let (periods, throttled_periods, throttled_time) = usage.throttling;
    CpuStats {
        cpu_usage: CpuUsage {
            total_usage: usage.cpu_total,
            percpu_usage: usage.cpu_each.clone(),
            usage_in_kernelmode: usage.cpu_system,
            usage_in_usermode: usage.cpu_user,
        },
        system_cpu_usage: counted.machine_cpu,
        online_cpus: counted.processors,
        throttling_data: ThrottlingData { periods, throttled_periods, throttled_time },
    }
}

fn memory(counted: &Counted) -> MemoryStats {
    let usage = &counted.container.usage;
    MemoryStats {
        usage: usage.memory,
        max_usage: usage.memory_peak,
        stats: usage.memory_details.iter().cloned().collect(),
        failcnt: usage.memory_failures,
        // No limit is shown as all the machine has.
        limit: if counted.machine_memory == 0 { usage.memory_limit } else { usage.memory_limit.min(counted.machine_memory) },
    }
}

fn blkio(counted: &Counted) -> BlkioStats {
    let block = &counted.container.usage.block;
    let entry = |value: &dyn Fn(&shipway_engine::values::BlockUsage) -> u64| {
        block
            .iter()
            .map(|device| BlkioEntry { major: device.major, minor: device.minor, op: device.operation.clone(), value: value(device) })
            .collect()
    };
    BlkioStats {
        io_service_bytes_recursive: Some(entry(&|device| device.bytes)),
        io_serviced_recursive: Some(entry(&|device| device.operations)),
        io_queue_recursive: Some(Vec::new()),
        io_service_time_recursive: Some(Vec::new()),
        io_wait_time_recursive: Some(Vec::new()),
        io_merged_recursive: Some(Vec::new()),
        io_time_recursive: Some(Vec::new()),
        sectors_recursive: Some(Vec::new()),
    }
}

fn networks(counted: &Counted) -> Option<std::collections::BTreeMap<String, NetworkStats>> {
    let interfaces = &counted.container.network;
    let told = interfaces.iter().map(|interface| {
        let stats = NetworkStats {
            rx_bytes: interface.rx_bytes,
            rx_packets: interface.rx_packets,
            rx_errors: interface.rx_errors,
            rx_dropped: interface.rx_dropped,
            tx_bytes: interface.tx_bytes,
            tx_packets: interface.tx_packets,
            tx_errors: interface.tx_errors,
            tx_dropped: interface.tx_dropped,
        };
        (interface.name.clone(), stats)
    });
    (!interfaces.is_empty()).then(|| told.collect())
}
