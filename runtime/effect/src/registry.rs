//! Owns the list of effects that this host offers. Everything that lists effects (bindings, type definitions,
//! reference, API) reads it from here.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::declaration::{Act, Declaration, Ensure, Read, Wait};
use crate::erased::{self, Erased, Rewind};
use crate::policy::nearest;
use crate::standin::{StandIn, StoodIn};
use crate::{Code, Error, Result, checkpoint, runs};

/// Every effect by name.
#[derive(Default)]
pub struct Registry {
    effects: BTreeMap<&'static str, Arc<dyn Erased>>,
}

impl Registry {
    /// Adds a read.
    pub fn read<E: Read>(&mut self, world: &Arc<E::World>) {
        self.add(Arc::new(erased::OfRead::<E>::new(world.clone())));
    }

    /// Adds an ensure.
    pub fn ensure<E: Ensure>(&mut self, world: &Arc<E::World>) {
        self.add(Arc::new(erased::OfEnsure::<E>::new(world.clone())));
    }

    /// Adds an act.
    pub fn act<E: Act>(&mut self, world: &Arc<E::World>) {
        self.add(Arc::new(erased::OfAct::<E>::new(world.clone())));
    }

    /// Adds a wait.
    pub fn wait<E: Wait>(&mut self, world: &Arc<E::World>) {
        self.add(Arc::new(erased::OfWait::<E>::new(world.clone())));
    }

    /// Adds what checkpoints and undo are made of. Last, because undo knows every other effect.
    pub fn undo(&mut self) {
        checkpoint::register(self);
        let rewinds = self.rewinds().collect();
        self.read::<runs::Changes>(&Arc::new(runs::Rewinds(rewinds)));
        self.add(Arc::new(runs::OfRestore::default()));
    }

    /// Puts `stand_in` before every effect that is registered so far.
    pub fn stand_in(&mut self, stand_in: &Arc<dyn StandIn>) {
        for effect in self.effects.values_mut() {
            *effect = Arc::new(StoodIn::new(effect.clone(), stand_in.clone()));
        }
    }

    fn add(&mut self, effect: Arc<dyn Erased>) {
        let name = effect.name();
        let previous = self.effects.insert(name, effect);
        assert!(previous.is_none(), "the effect `{name}` is declared twice");
    }

    /// Name and kind of every effect, in order, without computing schemas.
    pub fn names(&self) -> impl Iterator<Item = (&'static str, journal::Kind)> {
        self.effects.values().map(|effect| (effect.name(), effect.kind()))
    }

    /// What becomes of each effect that leaves something behind when it is undone.
    pub fn rewinds(&self) -> impl Iterator<Item = (&'static str, Rewind)> {
        self.effects.values().filter_map(|effect| Some((effect.name(), effect.rewind()?)))
    }

    /// Every declaration, in order of names.
    pub fn declarations(&self) -> impl Iterator<Item = &Declaration> {
        self.effects.values().map(|effect| effect.declaration())
    }

    pub(crate) fn find(&self, name: &str) -> Result<&Arc<dyn Erased>> {
        self.effects.get(name).ok_or_else(|| {
            let error = Error::new(Code::UnknownEffect, format!("there is no effect `{name}`"));
            match nearest(name, self.effects.keys().copied()) {
                Some(near) => error.hint(format!("did you mean `{near}`?")),
                None => error,
            }
        })
    }
}
