//! What somebody else changed in the tables, and the writes that undo it.

use fairway_datapath::table::{Image, Op};

use super::Reconciler;

impl Reconciler {
    /// The writes after which the tables are as they were left: what is missing or different is written again, what
    /// nobody here wrote is deleted. Empty if the image, read after all plans were carried out, is as it should be.
    pub fn restore(&self, image: &Image) -> Vec<Op> {
        let mut ops = Vec::new();
        for (id, backend) in self.backends.written() {
            if image.backends.get(&id) != Some(&backend) {
                ops.push(Op::PutBackend { id, backend });
            }
        }
        for (first, backends) in self.runs.written() {
            let differs = |(slot, id): (u32, &u32)| image.slots.get(&slot) != Some(id);
            if (first..).zip(backends).any(differs) {
                ops.push(Op::PutSlots { first, backends: backends.to_vec() });
            }
        }
        let known = self.ranges.written();
        ops.extend(known.difference(&image.ranges).map(|range| Op::PutRange { range: *range }));
        for (key, value) in &self.frontends {
            if image.frontends.get(key) != Some(value) {
                ops.push(Op::PutFrontend { key: *key, value: *value });
            }
        }
        let unknown = image.frontends.keys().filter(|key| !self.frontends.contains_key(key));
        ops.extend(unknown.map(|key| Op::DeleteFrontend { key: *key }));
        ops.extend(image.ranges.difference(known).map(|range| Op::DeleteRange { range: *range }));
        ops
    }
}
