//! Reads, writes and copies, of memory that no cache holds and of what a cache does.
//!
//! A group goes through one run of memory; a working set is a number of runs. Cold: as many groups
//! as runs, through more memory than any cache has. Resident: many groups, around a small set again
//! and again, so that launching is small beside it.
//!
//! The buffers are filled with a hash of each word's index. Reads add the words up modulo 2^32 and
//! the host knows the sum; what was written or copied is compared word by word.

use super::host;
use super::probe::{Error, Part, Probe, Rig, Unit};
use crate::gpu::{Binding, Gpu, Program};
use crate::units::Bytes;

/// What is done to each byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Read it.
    Read,
    /// Write it.
    Write,
    /// Read it here and write it there: two bytes moved.
    Copy,
}

/// A probe of memory.
#[derive(Debug)]
pub struct Memory {
    name: &'static str,
    summary: &'static str,
    kind: Kind,
    set: Set,
}

/// The working set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Set {
    Cold,
    Resident,
    /// A point of a curve.
    Of(Bytes),
}

/// A resident working set: within a GPU's last cache and a processor core's second.
pub const RESIDENT: Bytes = Bytes(512 << 10);

const fn memory(name: &'static str, summary: &'static str, kind: Kind, set: Set) -> Memory {
    Memory { name, summary, kind, set }
}

/// Reads of memory.
pub static READ_COLD: Memory =
    memory("read_cold", "reads of memory that no cache holds", Kind::Read, Set::Cold);
/// Reads of a cache.
pub static READ_RESIDENT: Memory =
    memory("read_resident", "reads of 512 KiB again and again", Kind::Read, Set::Resident);
/// Writes to memory.
pub static WRITE_COLD: Memory =
    memory("write_cold", "writes to memory that no cache holds", Kind::Write, Set::Cold);
/// Writes to a cache.
pub static WRITE_RESIDENT: Memory =
    memory("write_resident", "writes to 512 KiB again and again", Kind::Write, Set::Resident);
/// Copies through memory.
pub static COPY_COLD: Memory =
    memory("copy_cold", "reads here and writes there, both counted", Kind::Copy, Set::Cold);
/// Copies through a cache.
pub static COPY_RESIDENT: Memory =
    memory("copy_resident", "copies within 512 KiB again and again", Kind::Copy, Set::Resident);

/// Bytes of a `vec4<u32>`.
const VECTOR: u64 = 16;

/// Lanes and steps of `noise.wgsl`: a workgroup fills 16 KiB.
const NOISE_RUN: u64 = 64 * 16 * VECTOR;

/// A processor copies a pool in so many pieces, two of them at once: where two buffers lie in memory decides how
/// their banks and channels get on (10 or 15 GB/s on one machine, by chance), which many pieces even out.
const PIECES: u64 = 16;

/// Every run, of noise or of any variant, divides this.
pub const GRAIN: u64 = 1 << 18;

/// A pool at least, whatever the memory.
const LEAST: u64 = 128 << 20;
/// A host's pool at most.
const MOST: u64 = 1 << 30;

/// Bytes to walk through: four times what the caches hold. A software adapter's are the host's last level, as
/// far as the system tells; of GPUs the largest of today has 256 MiB, an integrated one less than half.
pub fn pool(gpu: &Gpu) -> Bytes {
    match gpu.adapter.kind {
        "software" => host_pool(host::last_level_caches(), host::memory()),
        kind => {
            let wanted = if kind == "integrated" { 512 << 20 } else { 1 << 30 };
            fitted(wanted, gpu.first_room().map_or(u64::MAX, |room| (room.total / 4).min(room.free / 2)))
        }
    }
}

/// No more than a 32nd of what memory there is for this process, since three curves with all their points take six pools.
fn host_pool(caches: Option<u64>, memory: Option<u64>) -> Bytes {
    let caches = caches.unwrap_or(LEAST / 4).clamp(LEAST / 4, MOST / 4);
    fitted((4 * caches).next_power_of_two(), memory.map_or(u64::MAX, |memory| memory / 32))
}

/// Halved until it is allowed, but no further than to the least.
fn fitted(mut pool: u64, allowed: u64) -> Bytes {
    while pool > allowed && pool > LEAST {
        pool /= 2;
    }
    Bytes(pool)
}

/// A working set as buffers, each within the device's limits.
fn sizes(set: Bytes, allowed: u64) -> Vec<u64> {
    let each = (allowed.min(1 << 30) / GRAIN * GRAIN).max(GRAIN).min(set.0.next_multiple_of(GRAIN));
    vec![each; set.0.div_ceil(each) as usize]
}

/// How the words are dealt out to groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Way {
    /// Lanes of a group.
    lanes: u32,
    /// Vectors that a lane takes.
    steps: u32,
}

/// Variants: many steps for a processor, which starts each group anew and whose compiler slows
/// down on a loop short enough to be unrolled whole; many lanes for GPUs.
const WAYS: [Way; 3] =
    [Way { lanes: 16, steps: 256 }, Way { lanes: 64, steps: 256 }, Way { lanes: 256, steps: 16 }];

/// The words that a vector is read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Words {
    /// Four of 32 bits.
    Narrow,
    /// Two of 64: half as many loads for a driver that checks each.
    Wide,
}

impl Way {
    fn program(self, kind: Kind, words: Words) -> Program {
        let file = match kind {
            Kind::Read => "probe/read",
            Kind::Write => "probe/write",
            Kind::Copy => "probe/copy",
        };
        let flags = (words == Words::Wide).then_some("WIDE");
        Program::new(file).number("WG", self.lanes).number("STEPS", self.steps).flags(flags)
    }

    /// Bytes that a workgroup goes through.
    fn run(self) -> Bytes {
        Bytes(u64::from(self.lanes) * u64::from(self.steps) * VECTOR)
    }
}

/// The hash that `noise.wgsl` fills with.
fn hash(word: u32) -> u32 {
    let x = (word ^ (word >> 16)).wrapping_mul(0x7feb_352d);
    let x = (x ^ (x >> 15)).wrapping_mul(0x846c_a68b);
    x ^ (x >> 16)
}

/// What `write.wgsl` stores in a word.
fn stored(word: u32) -> u32 {
    (word / 4).wrapping_mul(0x9e37_79b9).wrapping_add(word % 4)
}

impl Probe for Memory {
    fn name(&self) -> &'static str {
        self.name
    }

    fn summary(&self) -> &'static str {
        self.summary
    }

    fn unit(&self) -> Unit {
        Unit::GigabytesPerSecond
    }

    /// Points of curves are many: each has two variants, and a third of a ceiling's turns, as spread out.
    fn part(&self, gpu: &Gpu) -> Part {
        let memory = self.set(gpu);
        match self.set {
            Set::Of(_) => Part { variants: 2, every: 3, memory, ..Part::of(gpu) },
            Set::Cold | Set::Resident => Part { memory, ..Part::of(gpu) },
        }
    }

    fn rigs(&self, gpu: &Gpu) -> Result<Vec<Rig>, Error> {
        rigs(gpu, self.kind, self.set(gpu))
    }
}

impl Memory {
    /// A point of a curve over the working set.
    pub fn point(kind: Kind, set: Bytes) -> Self {
        let name = match kind {
            Kind::Read => "read",
            Kind::Write => "write",
            Kind::Copy => "copy",
        };
        memory(name, "the same over other working sets", kind, Set::Of(set))
    }

    /// What it does to each byte.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What it goes through.
    pub fn set(&self, gpu: &Gpu) -> Bytes {
        match self.set {
            Set::Cold => pool(gpu),
            Set::Resident => RESIDENT,
            Set::Of(set) => set,
        }
    }
}

/// Every variant over a working set, proved right. A copy's set is what it reads and writes.
fn rigs(gpu: &Gpu, kind: Kind, set: Bytes) -> Result<Vec<Rig>, Error> {
    let widest = u64::from(gpu.limits.max_compute_workgroups_per_dimension);
    let shortest = WAYS.iter().map(|w| w.run().0).min().unwrap_or(GRAIN);
    let allowed =
        gpu.limits.max_storage_buffer_binding_size.min(gpu.limits.max_buffer_size).min(widest * shortest);
    let (half, allowed) = match (kind, gpu.adapter.is_software()) {
        (Kind::Copy, true) => (Bytes(set.0 / 2), allowed.min(pool(gpu).0 / PIECES)),
        (Kind::Copy, false) => (Bytes(set.0 / 2), allowed),
        _ => (set, allowed),
    };
    let sizes = sizes(half, allowed);
    let size = sizes[0];
    let buffers = |what: &str| -> Result<Vec<wgpu::Buffer>, Error> {
        Ok(sizes.iter().map(|&s| gpu.storage(what, s)).collect::<Result<_, _>>()?)
    };
    let words = buffers("probe noise")?;
    let copies = if kind == Kind::Copy { buffers("probe copies")? } else { Vec::new() };
    if kind != Kind::Write {
        fill(gpu, &words, size)?;
    }
    let mut rigs = Vec::new();
    let wide = kind != Kind::Write && gpu.has(wgpu::Features::SHADER_INT64);
    let words_of = |way| [Some((way, Words::Narrow)), wide.then_some((way, Words::Wide))];
    for (way, width) in WAYS.into_iter().flat_map(words_of).flatten() {
        if way.lanes > gpu.limits.max_compute_invocations_per_workgroup {
            continue;
        }
        let runs = (size / way.run().0) as u32;
        let params = gpu.uniform_with("probe runs", bytemuck::cast_slice(&[runs, 0, 0, 0]));
        let sums = gpu.storage("probe sums", 4 * u64::from(way.lanes) * u64::from(runs))?;
        let pipeline = gpu.pipeline(&way.program(kind, width))?;
        let bind = |i: usize| {
            let mut bindings = vec![Binding::from(&params), (&words[i]).into()];
            match kind {
                Kind::Read => bindings.push((&sums).into()),
                Kind::Write => {}
                // From the other end: no two pairs lie as far apart.
                Kind::Copy => bindings.push((&copies[copies.len() - 1 - i]).into()),
            }
            gpu.bind(&pipeline, &bindings)
        };
        // One round of a cold set is long enough; a small set is gone around.
        let around = sizes.len() == 1 && set < pool(gpu);
        let rig = Rig {
            program: way.program(kind, width),
            bound: (0..words.len()).map(bind).collect::<Result<_, _>>()?,
            groups: runs,
            most_groups: if around { widest as u32 } else { runs },
            work_per_group: way.run().0 as f64 * if kind == Kind::Copy { 2.0 } else { 1.0 },
        };
        rig.time(gpu, 1)?;
        let proof = match kind {
            Kind::Read => summed(gpu, &sums, size),
            Kind::Write => holds(gpu, &words, stored),
            Kind::Copy => holds(gpu, &copies, hash),
        }?;
        if let Some(what) = proof {
            return Err(Error::Wrong { probe: rig.program.label(), adapter: gpu.adapter.name.clone(), what });
        }
        rigs.push(rig);
    }
    Ok(rigs)
}

fn fill(gpu: &Gpu, words: &[wgpu::Buffer], size: u64) -> Result<(), Error> {
    let noise = gpu.pipeline(&Program::new("probe/noise"))?;
    let groups = (size / NOISE_RUN) as u32;
    let fill = Rig {
        program: Program::new("probe/noise"),
        bound: words.iter().map(|b| gpu.bind(&noise, &[b.into()])).collect::<Result<_, _>>()?,
        groups,
        most_groups: groups,
        work_per_group: NOISE_RUN as f64,
    };
    fill.time(gpu, 1)?;
    Ok(())
}

/// What is wrong with the sums of a buffer's words. All buffers hold the same noise.
fn summed(gpu: &Gpu, sums: &wgpu::Buffer, size: u64) -> Result<Option<String>, Error> {
    let expected = (0..(size / 4) as u32).fold(0_u32, |sum, i| sum.wrapping_add(hash(i)));
    let found = bytemuck::pod_collect_to_vec::<u8, u32>(&gpu.download(sums, 0, sums.size())?);
    let found = found.into_iter().fold(0, u32::wrapping_add);
    Ok((found != expected).then(|| format!("the words add up to {found:#010x}, not {expected:#010x}")))
}

/// What is wrong with the words of some buffers.
fn holds(gpu: &Gpu, buffers: &[wgpu::Buffer], word: fn(u32) -> u32) -> Result<Option<String>, Error> {
    for buffer in buffers {
        let bytes = gpu.download(buffer, 0, buffer.size())?;
        for (i, found) in bytes.as_chunks::<4>().0.iter().enumerate() {
            let (found, expected) = (u32::from_le_bytes(*found), word(i as u32));
            if found != expected {
                return Ok(Some(format!("word {i} is {found:#010x}, not {expected:#010x}")));
            }
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_run_divides_every_buffer() {
        for way in WAYS {
            assert_eq!(GRAIN % way.run().0, 0, "{way:?}");
        }
        assert_eq!(GRAIN % NOISE_RUN, 0);
        assert_eq!(RESIDENT.0 / 2 % GRAIN, 0, "a copy's halves");
        for allowed in [1 << 27, (1 << 27) - 4, (1 << 31) - 4, 100 << 20] {
            let sizes = sizes(Bytes(512 << 20), allowed);
            assert!(sizes.iter().all(|s| s % GRAIN == 0 && *s <= allowed), "{sizes:?}");
            assert!(sizes.iter().sum::<u64>() >= 512 << 20, "{sizes:?}");
        }
    }

    #[test]
    fn the_pool_is_four_times_the_caches_as_far_as_memory_allows() {
        let mib = |caches: u64, memory: u64| host_pool(Some(caches << 20), Some(memory << 30)).0 >> 20;
        assert_eq!([mib(2, 8), mib(32, 8), mib(36, 16), mib(504, 256)], [128, 128, 256, 1024]);
        // Memory bounds it, though no further than what it always was; and so it is bounded everywhere.
        assert_eq!([mib(504, 8), mib(504, 2), mib(4096, 4096)], [256, 128, 1024]);
        assert_eq!(host_pool(None, None), Bytes(128 << 20));
    }

    #[test]
    fn the_noise_has_no_bias_that_a_compressor_could_use() {
        let mut ones = [0_u32; 32];
        for i in 0..4096 {
            for (bit, count) in ones.iter_mut().enumerate() {
                *count += hash(i) >> bit & 1;
            }
        }
        // Six standard deviations of a fair coin: 6 * sqrt(4096) / 2.
        assert!(ones.iter().all(|n| n.abs_diff(2048) < 192), "{ones:?}");
    }
}
