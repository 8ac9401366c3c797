//! Sequences by name, in constant time and without hashing.

use super::{SeqId, Sequence};

#[derive(Debug, Default)]
struct Slot {
    generation: u32,
    sequence: Option<Box<Sequence>>,
}

/// Slots that are used again under a new generation, so that an old name finds nothing.
#[derive(Debug, Default)]
pub(super) struct Store {
    slots: Vec<Slot>,
    vacant: Vec<u32>,
}

impl Store {
    /// Stores what `make` builds for the name it is given.
    pub(super) fn insert(&mut self, make: impl FnOnce(SeqId) -> Sequence) -> SeqId {
        let slot = self.vacant.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            // Room for every slot to be vacant, so that removal never allocates.
            self.vacant.reserve(self.slots.len());
            self.slots.len() as u32 - 1
        });
        let id = SeqId { slot, generation: self.slots[slot as usize].generation };
        self.slots[slot as usize].sequence = Some(Box::new(make(id)));
        id
    }

    pub(super) fn get(&self, id: SeqId) -> Option<&Sequence> {
        let slot = self.slots.get(id.slot())?;
        slot.sequence.as_deref().filter(|_| slot.generation == id.generation)
    }

    pub(super) fn get_mut(&mut self, id: SeqId) -> Option<&mut Sequence> {
        let slot = self.slots.get_mut(id.slot())?;
        slot.sequence.as_deref_mut().filter(|_| slot.generation == id.generation)
    }

    pub(super) fn remove(&mut self, id: SeqId) -> Option<Box<Sequence>> {
        self.get(id)?;
        let slot = &mut self.slots[id.slot()];
        slot.generation = slot.generation.wrapping_add(1);
        self.vacant.push(id.slot);
        slot.sequence.take()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Sequence> {
        self.slots.iter().filter_map(|slot| slot.sequence.as_deref())
    }
}
