//! Memory of this process, as the kernel counts it.

/// The most that was resident since the process began, in MiB.
pub fn peak_mib() -> f64 {
    field("VmHWM:")
}

/// What is resident now, in MiB.
pub fn now_mib() -> f64 {
    field("VmRSS:")
}

/// Lets [`peak_mib`] begin anew.
pub fn forget_peak() {
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
}

fn field(name: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    let kib: f64 = line.trim().trim_end_matches("kB").trim().parse().unwrap();
    kib / 1024.0
}
