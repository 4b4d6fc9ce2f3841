//! What the process takes of the machine, under the names that every Prometheus client library uses. Read when
//! somebody asks; a value that the system does not show is left out.

use std::fs;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
    registry::Unit,
};

/// Linux shows processor time to programs in hundredths of a second (`USER_HZ`), on every architecture that
/// this runs on.
const TICKS_PER_SECOND: f64 = 100.0;

#[derive(Debug)]
pub(super) struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        if let Some(seconds) = cpu_seconds() {
            let metric = ConstCounter::new(seconds);
            let help = "Processor time, user and system";
            let descriptor =
                encoder.encode_descriptor("process_cpu", help, Some(&Unit::Seconds), metric.metric_type())?;
            metric.encode(descriptor)?;
        }
        if let Some(bytes) = resident_bytes() {
            let metric = ConstGauge::new(bytes);
            let help = "Resident memory";
            let descriptor = encoder.encode_descriptor(
                "process_resident_memory",
                help,
                Some(&Unit::Bytes),
                metric.metric_type(),
            )?;
            metric.encode(descriptor)?;
        }
        if let Some(number) = open_files() {
            let metric = ConstGauge::new(number);
            let help = "Open file descriptors";
            let descriptor =
                encoder.encode_descriptor("process_open_fds", help, None, metric.metric_type())?;
            metric.encode(descriptor)?;
        }
        Ok(())
    }
}

/// Fields 14 and 15 of `/proc/self/stat`, counted after the program's name, which may hold anything (proc(5)).
fn cpu_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let mut fields = stat.rsplit_once(") ")?.1.split(' ').skip(11);
    let mut ticks = || fields.next()?.parse::<u32>().ok().map(f64::from);
    Some((ticks()? + ticks()?) / TICKS_PER_SECOND)
}

fn resident_bytes() -> Option<i64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: i64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

fn open_files() -> Option<i64> {
    i64::try_from(fs::read_dir("/proc/self/fd").ok()?.count()).ok()
}
