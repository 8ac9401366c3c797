//! Costs against hand counts, and against plain loops that count what they touch: the kernels' own
//! workgroups and lanes, each load noted, with nothing taken from the closed forms.

mod attention;
mod linear;
mod rope;
mod small;

use std::collections::{BTreeMap, HashSet};

use ridgepoint::cost::{Cost, Role};
use ridgepoint::kernels::rope_cache::CacheType;

/// Counts what a plain loop does.
#[derive(Default)]
struct Counter {
    /// f32 operations, a multiply-add as two.
    f32: u64,
    int: u64,
    special: u64,
    /// Distinct things touched, by role.
    touched: HashSet<(Role, u64)>,
    /// What the workgroup that runs has loaded, by role: its lanes' loads of one thing are one.
    loaded: HashSet<(Role, u64)>,
    /// Loads of all workgroups before it.
    loads: BTreeMap<Role, u64>,
}

impl Counter {
    fn touch(&mut self, role: Role, thing: usize) {
        self.touched.insert((role, thing as u64));
    }

    fn load(&mut self, role: Role, thing: usize) {
        self.touch(role, thing);
        self.pad(role, thing);
    }

    /// Loads neighbouring things.
    fn load_words(&mut self, role: Role, first: usize, count: usize) {
        (first..first + count).for_each(|word| self.load(role, word));
    }

    /// Loads what nothing is made of.
    fn pad(&mut self, role: Role, thing: usize) {
        self.loaded.insert((role, thing as u64));
    }

    /// Ends a workgroup: the next has nothing of what it loaded.
    fn end_workgroup(&mut self) {
        for (role, _) in std::mem::take(&mut self.loaded) {
            *self.loads.entry(role).or_default() += 1;
        }
    }

    /// Things of a role that all workgroups load, of so many bytes each.
    fn issued(&self, role: Role, each: u64) -> u64 {
        each * self.loads.get(&role).copied().unwrap_or(0)
    }

    /// Distinct things of a role, of so many bytes each.
    fn bytes(&self, role: Role, each: u64) -> u64 {
        each * self.touched.iter().filter(|(r, _)| *r == role).count() as u64
    }

    /// Floor and ceiling of a role whose things have so many bytes each.
    fn both(&self, role: Role, each: u64) -> (u64, u64) {
        (self.bytes(role, each), self.issued(role, each))
    }

    fn work(&self) -> [u64; 3] {
        [self.f32, self.int, self.special]
    }

    /// Makes a row of the cache numbers.
    fn unpacks(&mut self, cache: CacheType, dim: usize) {
        for i in 0..dim {
            match cache {
                CacheType::F32 => {}
                CacheType::F16 => self.f32 += 1,
                CacheType::Q8_0 => {
                    // The scale of a block of 32 is a half; up and down again for the sign; conversion, product.
                    self.f32 += u64::from(i % 32 == 0) + 2;
                    self.int += 2;
                }
            }
        }
    }

    /// Makes a row of the cache of numbers.
    fn packs(&mut self, cache: CacheType, dim: usize) {
        for i in 0..dim {
            match cache {
                CacheType::F32 => {}
                CacheType::F16 => self.f32 += 1,
                CacheType::Q8_0 => {
                    if i % 32 == 0 {
                        // Whether there is a scale at all, and it made a half; 127 / top, top / 127.
                        self.f32 += 2;
                        self.special += 2;
                    }
                    // abs and max; times the inverse, rounded, converted.
                    self.f32 += 2 + 3;
                    // Eight bits of it; the second to fourth of a word are shifted and put in.
                    self.int += if i % 4 == 0 { 1 } else { 3 };
                }
            }
        }
    }
}

fn work(cost: &Cost) -> [u64; 3] {
    [cost.work.f32.0, cost.work.int.0, cost.work.special.0]
}

fn floor(cost: &Cost, role: Role) -> u64 {
    cost.of(role).0
}

fn issued(cost: &Cost, role: Role) -> u64 {
    cost.of(role).1
}

#[test]
fn issued_bytes_are_never_below_the_floor() {
    for kernel in ridgepoint::kernels::KERNELS {
        for case in kernel.cases().take(40) {
            assert!(case.cost.bytes().0.0 > 0, "{} {}", kernel.name(), case.label);
            for t in &case.cost.traffic {
                assert!(t.floor <= t.issued, "{} {}: {t:?}", kernel.name(), case.label);
            }
        }
    }
}
