//! What a rendering may build, compare and write, beside the fuel that its instructions cost.
//!
//! minijinja's fuel pays for what one instruction makes by itself. Lists share their items, so forty
//! instructions make a tree of 2^40, which the forty-first prints or compares for hours; and a list in a
//! list in a list ends in a stack overflow. So every container that a template makes, compares or hands
//! to a filter is weighed here as the tree that it is, by [`super::template_code`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use minijinja::value::{DynObject, Enumerator, Object, ObjectRepr, Value};
use minijinja::{Error, ErrorKind};

/// Containers in containers that a value may be.
pub const DEPTH: usize = 64;
/// What one value may weigh beside twice the conversation: its items, and a 64th of its texts' bytes.
const HEAVIEST: u64 = 1 << 17;
/// Bytes of the longest text that it may make, beside twice the conversation and its own source: minijinja walks
/// through all of a text to cut off its end.
const LONGEST: usize = 1 << 16;
/// Weight that is looked at for each of the fuel's instructions.
const PER_FUEL: u64 = 16;

/// What comparing an item of a list or a map costs, against looking at it: measured, about a microsecond.
const COMPARED: u64 = 8;

/// Weight of a place in a list of ours: its memory too is bounded by what is left.
const SLOT: u64 = 4;

/// A list that this account pays for alone: of one of minijinja's own, its fuel would pay for every place
/// again whenever a call hands it on.
#[derive(Debug)]
struct List(Vec<Value>);

impl Object for List {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Seq
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.0.get(key.as_usize()?).cloned()
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Seq(self.0.len())
    }
}

/// A value with all that it holds, as often as it holds it.
#[derive(Default)]
struct Tree {
    nodes: u64,
    weight: u64,
}

/// The account of one rendering.
pub struct Meter {
    heaviest: u64,
    longest: usize,
    left: AtomicU64,
    most: usize,
    asked: AtomicUsize,
}

impl Meter {
    /// For a template of so many instructions and bytes, a conversation of so many texts and bytes, and a page of
    /// at most so many.
    pub fn new(fuel: u64, source: usize, (texts, bytes): (usize, usize), most: usize) -> Self {
        let conversation = 4 * texts as u64 + bytes as u64 / 64;
        Self {
            heaviest: HEAVIEST + 2 * conversation,
            longest: LONGEST + 2 * bytes + source,
            left: AtomicU64::new(fuel.saturating_mul(PER_FUEL)),
            most,
            asked: AtomicUsize::new(0),
        }
    }

    /// A value that was made, as it is kept: looking at its items is paid for.
    pub fn made(&self, value: &Value) -> Result<Value, Error> {
        if value.as_str().is_some_and(|text| text.len() > self.longest) {
            return Err(ErrorKind::OutOfFuel.into());
        }
        let value = self.plain(value)?;
        let mut tree = Tree::default();
        let done = self.add(&value, 0, &mut tree);
        self.spend(tree.nodes)?;
        done.map(|()| value)
    }

    /// A list instead of what exists only while it is walked, also within other lists (`map('reverse')`).
    /// minijinja's sums, products and slices of lists do, each by way of all that it was made of: forty sums of an
    /// empty list and itself are 2^40 of them and no item.
    fn plain(&self, value: &Value) -> Result<Value, Error> {
        Ok(self.flat(value, 0)?.unwrap_or_else(|| value.clone()))
    }

    /// Nothing where a value is plain already.
    fn flat(&self, value: &Value, depth: usize) -> Result<Option<Value>, Error> {
        let Some(object) = value.as_object().filter(|_| depth < DEPTH) else { return Ok(None) };
        let lazy = object.repr() == ObjectRepr::Iterable;
        // Others hold what was made before, which is plain.
        if !lazy && object.downcast_ref::<Vec<Value>>().is_none() {
            return Ok(None);
        }
        self.bear(object.enumerator_len().unwrap_or(0) as u64)?;
        let mut changed = lazy;
        let mut items = Vec::new();
        for item in object.try_iter().into_iter().flatten() {
            let flat = self.flat(&item, depth + 1)?;
            changed |= flat.is_some();
            items.push(flat.unwrap_or(item));
            self.bear(items.len() as u64)?;
            self.spend(1)?;
        }
        if !changed {
            return Ok(None);
        }
        self.spend(items.len() as u64 * SLOT)?;
        Ok(Some(Value::from_object(List(items))))
    }

    /// A value that is compared, printed or handed to a filter: all that it holds is paid for. Gives its
    /// weight.
    pub fn used(&self, value: &Value) -> Result<u64, Error> {
        let mut tree = Tree::default();
        let done = self.add(value, 0, &mut tree);
        self.spend(tree.weight)?;
        done.map(|()| tree.weight)
    }

    /// A value that is compared, item by item where it has some. Gives its weight.
    pub fn compared(&self, value: &Value) -> Result<u64, Error> {
        let weight = self.used(value)?;
        if value.as_object().is_some() {
            self.compares(weight, 1)?;
        }
        Ok(weight)
    }

    /// Comparing all of a weight so many times.
    pub fn compares(&self, weight: u64, times: u64) -> Result<(), Error> {
        self.spend(weight.saturating_mul(COMPARED * times))
    }

    /// A value of which an item is taken, or that is gone through: a text is walked from its start.
    pub fn walked(&self, value: &Value) -> Result<(), Error> {
        self.spend(value.as_str().map_or(0, str::len) as u64 / 64)
    }

    /// A value of which a part is taken: all before it is walked.
    pub fn sliced(&self, value: &Value) -> Result<(), Error> {
        self.walked(value)?;
        self.spend(value.as_object().and_then(|object| object.enumerator_len()).unwrap_or(0) as u64)
    }

    /// What a namespace is to hold: with one in itself, there would be no end of it.
    pub fn stored(value: &Value) -> Result<(), Error> {
        if value.as_object().is_some_and(is_namespace) { Err(held_namespace()) } else { Ok(()) }
    }

    /// Takes a weight from what is left.
    pub fn spend(&self, weight: u64) -> Result<(), Error> {
        let taken = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(weight));
        taken.map(drop).map_err(|_| ErrorKind::OutOfFuel.into())
    }

    fn add(&self, value: &Value, depth: usize, tree: &mut Tree) -> Result<(), Error> {
        let text = value.as_str().map(str::len).or_else(|| value.as_bytes().map(<[u8]>::len));
        tree.nodes += 1;
        tree.weight += 1 + text.unwrap_or(0) as u64 / 64;
        let Some(object) = value.as_object() else { return self.bear(tree.weight) };
        if depth == DEPTH {
            let text = format!("it makes lists or maps that nest deeper than {DEPTH}");
            return Err(Error::new(ErrorKind::InvalidOperation, text));
        }
        if depth > 0 && is_namespace(object) {
            return Err(held_namespace());
        }
        // Before any is looked at.
        self.bear(tree.weight.saturating_add(object.enumerator_len().unwrap_or(0) as u64))?;
        match object.repr() {
            ObjectRepr::Map => {
                for (key, item) in object.try_iter_pairs().into_iter().flatten() {
                    self.add(&key, depth + 1, tree)?;
                    self.add(&item, depth + 1, tree)?;
                }
            }
            ObjectRepr::Seq | ObjectRepr::Iterable => {
                for item in object.try_iter().into_iter().flatten() {
                    self.add(&item, depth + 1, tree)?;
                }
            }
            _ => {}
        }
        self.bear(tree.weight)
    }

    fn bear(&self, weight: u64) -> Result<(), Error> {
        if weight > self.heaviest { Err(ErrorKind::OutOfFuel.into()) } else { Ok(()) }
    }

    /// Before bytes are written, be it to the page or to a variable.
    pub fn write(&self, bytes: usize) -> Result<(), Error> {
        let asked = self.asked.load(Ordering::Relaxed).saturating_add(bytes);
        self.asked.store(asked, Ordering::Relaxed);
        if asked > self.most { Err(ErrorKind::WriteFailure.into()) } else { Ok(()) }
    }

    /// The bytes that it wanted to write, where they are too many.
    pub fn too_long(&self) -> Option<usize> {
        Some(self.asked.load(Ordering::Relaxed)).filter(|asked| *asked > self.most)
    }
}

fn is_namespace(object: &DynObject) -> bool {
    // The type is private to minijinja, its name is not.
    object.type_name().ends_with("::Namespace")
}

fn held_namespace() -> Error {
    Error::new(ErrorKind::InvalidOperation, "it puts a namespace into a namespace, a list or a map")
}
