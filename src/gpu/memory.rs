//! How much memory there is for weights and cache, as far as the system tells.

use serde::Serialize;

use super::device::Gpu;
use super::raw;
use crate::units::Bytes;

/// Memory that this process may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Room {
    /// All that it may use, what it uses already included.
    pub total: u64,
    /// What is left of it.
    pub free: u64,
    /// Who says so.
    pub source: &'static str,
}

impl Gpu {
    /// The memory of the device's largest local heap, as `VK_EXT_memory_budget` reports it, or the
    /// host's where the device is software.
    ///
    /// # Errors
    /// In words, why it isn't known.
    pub fn room(&self) -> Result<Room, String> {
        if self.adapter.is_software() {
            let free = host_available().ok_or("this system doesn't tell how much memory is available")?;
            return Ok(match address_space_left() {
                Some(left) if left < free => {
                    Room { total: left, free: left, source: "the limit on address space" }
                }
                _ => Room { total: free, free, source: "MemAvailable" },
            });
        }
        let [total, used] = raw::vulkan_budget(&self.device)?;
        Ok(Room { total, free: total.saturating_sub(used), source: "VK_EXT_memory_budget" })
    }

    /// As [`Gpu::room`] said when this was first asked: what drivers grant changes with what is taken.
    ///
    /// # Errors
    /// As [`Gpu::room`].
    pub fn first_room(&self) -> Result<Room, String> {
        self.first_room.get_or_init(|| self.room()).clone()
    }

    /// What is left, in words for an error message.
    pub(super) fn left(&self) -> String {
        self.room().map_or_else(|why| why, |room| format!("{} are free", Bytes(room.free)))
    }
}

/// Linux's estimate of what can be had without swapping, in bytes; `None` elsewhere.
pub fn host_available() -> Option<u64> {
    meminfo("MemAvailable")
}

/// A line of Linux's `/proc/meminfo`, in bytes; `None` elsewhere.
pub(crate) fn meminfo(name: &str) -> Option<u64> {
    parse_meminfo(&std::fs::read_to_string("/proc/meminfo").ok()?, name)
}

/// What a limit on this process's addresses (`ulimit -v`) leaves, in bytes; `None` where there is none.
fn address_space_left() -> Option<u64> {
    let taken = std::fs::read_to_string("/proc/self/status").ok()?;
    parse_address_space(&std::fs::read_to_string("/proc/self/limits").ok()?, &taken)
}

fn parse_address_space(limits: &str, status: &str) -> Option<u64> {
    let limit = limits.lines().find_map(|l| l.strip_prefix("Max address space"))?;
    let limit: u64 = limit.split_whitespace().next()?.parse().ok()?;
    let taken = status.lines().find_map(|l| l.strip_prefix("VmSize:"))?;
    let taken: u64 = taken.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(limit.saturating_sub(taken.saturating_mul(1024)))
}

fn parse_meminfo(meminfo: &str, name: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':'))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::{AdapterChoice, Checks};

    #[test]
    fn meminfo_is_read() {
        let available = |text| parse_meminfo(text, "MemAvailable");
        assert_eq!(available("MemTotal: 9 kB\nMemAvailable:    3072 kB\n"), Some(3 << 20));
        assert_eq!(available("MemTotal: 9 kB\n"), None);
        assert_eq!(available("MemAvailable: lots\n"), None);
    }

    #[test]
    fn limits_on_addresses_are_read() {
        let limit = |n: &str| {
            format!("Max cpu time   unlimited\nMax address space         {n}   unlimited   bytes\n")
        };
        let status = "VmPeak:\t  9 kB\nVmSize:\t    1024 kB\n";
        assert_eq!(parse_address_space(&limit("4194304"), status), Some(3 << 20));
        assert_eq!(parse_address_space(&limit("1000"), status), Some(0));
        assert_eq!(parse_address_space(&limit("unlimited"), status), None);
    }

    #[test]
    fn the_budget_extension_answers_or_says_why_not() {
        let gpu = Gpu::open(&AdapterChoice::Best, Checks::Trusted).unwrap();
        match raw::vulkan_budget(&gpu.device) {
            Ok([total, used]) => assert!(total > 1 << 20 && used <= total * 64, "{total} {used}"),
            Err(why) => assert!(why.contains("VK_EXT_memory_budget") || why.contains("Vulkan"), "{why}"),
        }
        let room = gpu.room();
        assert!(room.is_ok() || cfg!(not(target_os = "linux")), "{room:?}");
    }
}
