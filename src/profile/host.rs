//! What Linux tells of the host that software adapters run on: its caches and its memory.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::gpu::meminfo;

/// Bytes of all last-level caches together; none where the system doesn't tell.
pub(super) fn last_level_caches() -> Option<u64> {
    caches(Path::new("/sys/devices/system/cpu"))
}

/// Bytes of memory that a process may use: the machine's, or its control group's where that is less; none where
/// the system doesn't tell. What is free at the moment is no part of it, so that it stays the same.
pub(super) fn memory() -> Option<u64> {
    let machine = meminfo("MemTotal")?;
    let group = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
    let limits = group.iter().filter_map(|file| fs::read_to_string(file).ok()?.trim().parse::<u64>().ok());
    Some(limits.fold(machine, u64::min))
}

/// Each cache is named by all the processors that share it.
fn caches(folder: &Path) -> Option<u64> {
    let mut all = BTreeMap::new();
    for processor in fs::read_dir(folder).ok()?.flatten() {
        let read = |file| fs::read_to_string(processor.path().join("cache/index3").join(file)).ok();
        let cache = read("shared_cpu_list").zip(read("size").and_then(|size| kibibytes(&size)));
        all.extend(cache);
    }
    (!all.is_empty()).then(|| all.into_values().fold(0, u64::saturating_add))
}

fn kibibytes(size: &str) -> Option<u64> {
    size.trim().strip_suffix('K')?.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caches_that_are_shared_count_once() {
        let folder = tempfile::tempdir().unwrap();
        for (processor, shared, size) in
            [("cpu0", "0-1\n", "32768K\n"), ("cpu1", "0-1\n", "32768K\n"), ("cpu2", "2-3\n", "16384K\n")]
        {
            let cache = folder.path().join(processor).join("cache/index3");
            fs::create_dir_all(&cache).unwrap();
            fs::write(cache.join("shared_cpu_list"), shared).unwrap();
            fs::write(cache.join("size"), size).unwrap();
        }
        fs::create_dir_all(folder.path().join("cpufreq")).unwrap();
        assert_eq!(caches(folder.path()), Some(48 << 20));
        assert_eq!(caches(&folder.path().join("cpufreq")), None);
    }

    #[test]
    fn sizes_are_read() {
        assert_eq!((kibibytes("512K\n"), kibibytes("lots")), (Some(512 << 10), None));
    }
}
