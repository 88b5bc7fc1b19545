//! Patching of system call sites: which memory may be patched, writing, taking back.
//!
//! The platform's [`Patcher`] says what to write; this module decides where that is allowed: in private mappings of files
//! that can be executed and not written. The page is replaced by a copy with the jump in it, never written while guest
//! threads may run it. Trampolines lie in pages that belong to no mapping: the guest does not see them in
//! `/proc/PID/maps`, and when it maps something else there, or makes the text writable, the sites are put back as they were.

use crate::change::Changes;
use crate::prot::{Prot, READ};
use crate::texts::TextId;
use crate::{MemoryManager, State, page};
use abi::PAGE_SIZE;
use core::ops::Range;
use host::frames::{AllocOptions, FrameRange};
use platform::{Access, Code, JUMP, Patch, Patcher, Patches};
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

/// After so many traps from a page its sites are patched with the next change of the address space: what that costs more is as
/// much as some six of them, while little of the code that does it is in the caches.
const TRAPS_SOON: usize = 8;
/// After so many they are patched at once, which costs as much as ten.
const TRAPS: usize = 16;
/// A site that can't be patched.
pub(crate) const NEVER: u32 = u32::MAX;
/// Sites that are counted at once.
const MOST_COUNTED: usize = 1024;
/// Pages that wait for a change.
const MOST_WAITING: usize = 16;
/// Sites that are patched at most, with those that were put back.
const MOST_PATCHED: usize = 4096;
/// Texts with patched sites at most. Some may be left over from texts that were unmapped in pieces.
const MOST_SHADOWS: usize = 1024;
/// How much code around a site the patcher sees.
pub(crate) const BEFORE: u64 = 64;
pub(crate) const AFTER: u64 = 32;
/// Length of the `syscall` instruction.
pub(crate) const SYSCALL: u64 = 2;
const TRAMPOLINE: Access = Access { read: true, write: false, execute: true };

/// The trampolines of one text.
#[derive(Clone)]
pub(crate) struct Shadow {
    text: Range<u64>,
    pub range: Range<u64>,
    /// Its pages, with their frame and whether the platform has them mapped.
    pages: BTreeMap<u64, (FrameRange, bool)>,
}

/// What an address space knows of its patches.
#[derive(Default)]
pub(crate) struct PatchState {
    pub traps: BTreeMap<u64, u32>,
    /// The sites that have trapped in each page since it was last patched, once for each trap, with the number of the call.
    pages: BTreeMap<u64, Vec<(u64, Option<u32>)>>,
    /// Pages whose sites are to be patched with the next change.
    waiting: Vec<u64>,
    pub shadows: Vec<Shadow>,
    pub sites: Arc<Patches>,
    /// How many want the text as it is in its files.
    pub plain: usize,
    /// The texts of this address space, from where on, of which others learn. A fork has none of its own.
    pub used: Vec<(u64, TextId)>,
}

/// As long as one exists, no site of an address space is patched: a debugger sees its text, and sees its calls.
pub struct PlainText(Weak<MemoryManager>);

impl Drop for PlainText {
    fn drop(&mut self) {
        if let Some(mm) = self.0.upgrade() {
            let mut state = mm.state.lock();
            state.patches.plain = state.patches.plain.saturating_sub(1);
        }
    }
}

impl PatchState {
    /// A range that is free but for trampolines: the part below them, if there are any.
    pub fn limit(&self, range: &Range<u64>) -> Option<u64> {
        self.shadows.iter().filter(|s| overlap(&s.range, range)).map(|s| s.range.start).min()
    }

    /// Forgets the sites of a range, whose pages are gone.
    fn forget(&mut self, range: Range<u64>) -> Vec<Arc<Patch>> {
        if self.sites.is_empty() {
            return Vec::new();
        }
        Arc::make_mut(&mut self.sites).remove(range)
    }

    /// The same for sites that are being put back: threads may be in their trampolines.
    fn retire(&mut self, range: Range<u64>) -> Vec<Arc<Patch>> {
        if self.sites.is_empty() {
            return Vec::new();
        }
        Arc::make_mut(&mut self.sites).retire(range)
    }

    /// The sites.
    pub fn sites(&self) -> Arc<Patches> {
        self.sites.clone()
    }

    /// All frames that trampolines have.
    pub fn take_frames(&mut self) -> Vec<FrameRange> {
        self.shadows.drain(..).flat_map(|shadow| shadow.pages.into_values().map(|(frames, _)| frames)).collect()
    }

    /// Nothing of the platform's is mapped any more.
    pub fn forget_installed(&mut self) {
        for shadow in &mut self.shadows {
            shadow.pages.values_mut().for_each(|page| page.1 = false);
        }
    }
}

fn overlap(a: &Range<u64>, b: &Range<u64>) -> bool {
    a.start < b.end && b.start < a.end
}

/// The text around an address, with its protection, if it may be patched: a private mapping that is executed and not written.
pub(crate) fn patchable(state: &State, addr: u64) -> Option<(Range<u64>, Prot, TextId)> {
    let (start, vma) = state.vmas.find(addr)?;
    let file = vma.file.as_ref()?;
    let prot = vma.prot;
    let id = TextId { file: file.object.observers().key(), offset: vma.offset, len: vma.end - start };
    let text = !vma.shared() && prot.contains(Prot::EXEC | Prot::READ) && !prot.contains(Prot::WRITE);
    text.then_some((start..vma.end, prot, id))
}

impl MemoryManager {
    /// Takes note of a trap from a `syscall` instruction at `site`, with the number of its call, and patches those of its page
    /// once that is worth it.
    pub fn note_trap(&self, site: u64, number: u32) {
        let Some(texts) = &self.texts else { return };
        let mut state = self.state.lock();
        if state.patches.plain > 0 {
            return;
        }
        if state.patches.traps.len() > MOST_COUNTED {
            state.patches.traps.clear();
            state.patches.pages.clear();
        }
        let count = state.patches.traps.entry(site).or_default();
        if *count == NEVER {
            return;
        }
        *count += 1;
        let this = page(site);
        let trapped = state.patches.pages.entry(this).or_default();
        trapped.push((site, Some(number)));
        let count = trapped.len();
        if count == TRAPS_SOON && state.patches.waiting.len() < MOST_WAITING {
            state.patches.waiting.push(this);
        }
        if count < TRAPS {
            return;
        }
        drop(state);
        self.change(|state, changes| {
            if state.patches.plain > 0 {
                return;
            }
            self.patch_trapped(state, changes, texts.patcher(), this);
        });
    }

    /// Runs `work` as [`MemoryManager::change`] does. If the platform's address space changes, it patches what waits for that.
    pub(crate) fn change_and_patch<R>(&self, work: impl FnOnce(&mut State, &mut Changes) -> R) -> R {
        self.change(|state, changes| {
            let result = work(state, changes);
            if let Some(texts) = &self.texts
                && !changes.is_empty()
                && state.patches.plain == 0
            {
                for this in core::mem::take(&mut state.patches.waiting) {
                    self.patch_trapped(state, changes, texts.patcher(), this);
                }
            }
            result
        })
    }

    /// Patches the sites of a page that have trapped.
    fn patch_trapped(&self, state: &mut State, changes: &mut Changes, patcher: &dyn Patcher, this: u64) {
        let Some(mut sites) = state.patches.pages.remove(&this) else { return };
        sites.sort_unstable();
        sites.dedup_by(|again, first| {
            let same = again.0 == first.0;
            if same && again.1 != first.1 {
                first.1 = None;
            }
            same
        });
        let Some(text) = patchable(state, this) else { return };
        if self.renew_code(state, changes, this, text.1).is_none() {
            return;
        }
        let mut any = false;
        for (site, number) in sites {
            let done = self.patch(state, changes, patcher, site, number, &text).is_some();
            any |= done;
            if !done {
                state.patches.traps.insert(site, NEVER);
            }
        }
        if any {
            self.tell_sites(state);
        }
    }

    /// Puts all sites back as they were, and keeps them so.
    #[must_use]
    pub fn plain_text(&self) -> PlainText {
        self.change(|state, changes| {
            state.patches.plain += 1;
            self.put_back(state, changes, 0..u64::MAX);
        });
        if let Some(space) = self.space.get() {
            space.show_calls();
        }
        PlainText(self.this.clone())
    }

    /// Whether `text` is of this address space.
    #[must_use]
    pub fn owns(&self, text: &PlainText) -> bool {
        text.0.ptr_eq(&self.this)
    }

    /// Puts a site back as it was for good, if `addr` lies in the middle of its jump: somebody has jumped there.
    pub fn unpatch(&self, addr: u64) -> bool {
        self.change(|state, changes| {
            let Some(patch) = state.patches.sites.at(addr).cloned() else { return false };
            state.patches.traps.insert(patch.call, NEVER);
            self.put_back(state, changes, patch.at..patch.at + 1);
            true
        })
    }

    fn patch(
        &self,
        state: &mut State,
        changes: &mut Changes,
        patcher: &dyn Patcher,
        site: u64,
        number: Option<u32>,
        (text, prot, _): &(Range<u64>, Prot, TextId),
    ) -> Option<()> {
        if let Some(old) = state.patches.sites.of_call(site + SYSCALL).cloned() {
            let mut now = [0; JUMP];
            self.read_code(state, changes, old.at, &mut now)?;
            if now == old.jump {
                // It has been patched since.
                return Some(());
            }
            // The page has been replaced.
            state.patches.forget(old.at..old.at + 1);
        }
        if let Some(old) = state.patches.sites.retired(site + SYSCALL).cloned() {
            let mut now = [0; JUMP];
            self.read_code(state, changes, old.at, &mut now)?;
            if now != old.original {
                return None;
            }
            return self.install_patch(state, changes, old, *prot);
        }
        let mut bytes = [0; (BEFORE + AFTER) as usize];
        let window = site.saturating_sub(BEFORE).max(text.start)..(site + AFTER).min(text.end);
        let bytes = bytes.get_mut(..(window.end - window.start) as usize)?;
        self.read_code(state, changes, window.start, bytes)?;
        let at = self.shadow(state, patcher, text.clone())?;
        let code = Code { start: window.start, bytes };
        let shadow = state.patches.shadows.get(at)?;
        let plan = self.plan_patch(state, patcher, code, (site, number), text.clone(), shadow)?;
        self.write_trampoline(state, changes, at, &plan, true)?;
        self.install_patch(state, changes, Arc::new(plan), *prot)
    }

    /// A patch, with its trampoline next to others if possible.
    pub(crate) fn plan_patch(
        &self,
        state: &State,
        patcher: &dyn Patcher,
        code: Code<'_>,
        (site, number): (u64, Option<u32>),
        text: Range<u64>,
        shadow: &Shadow,
    ) -> Option<Patch> {
        let sites = &state.patches.sites;
        if sites.len() >= MOST_PATCHED {
            return None;
        }
        let plan = |free: &dyn Fn(Range<u64>) -> bool| {
            patcher.plan(code, site, number, text.clone(), shadow.range.clone(), free)
        };
        plan(&|range| shadow.pages.contains_key(&page(range.start)) && !sites.occupied(range))
            .or_else(|| plan(&|range| !sites.occupied(range)))
    }

    /// Writes the jump of a patch whose trampoline is there. The platform is to be told.
    fn install_patch(&self, state: &mut State, changes: &mut Changes, patch: Arc<Patch>, prot: Prot) -> Option<()> {
        self.write_code(state, changes, patch.at, &patch.jump, prot)?;
        Arc::make_mut(&mut state.patches.sites).insert(patch);
        Some(())
    }

    pub(crate) fn read_code(
        &self,
        state: &mut State,
        changes: &mut Changes,
        addr: u64,
        bytes: &mut [u8],
    ) -> Option<()> {
        let mut done = 0;
        while done < bytes.len() {
            let rest = bytes.get_mut(done..)?;
            let piece = self.piece(state, changes, addr + done as u64, READ, rest.len()).ok()?;
            let range = piece.range();
            range.read(rest.get_mut(..range.len())?).ok()?;
            done += range.len().max(1);
        }
        Some(())
    }

    /// The shadow of a text, found or made, as its place in the list.
    pub(crate) fn shadow(&self, state: &mut State, patcher: &dyn Patcher, text: Range<u64>) -> Option<usize> {
        let State { patches, vmas, .. } = state;
        if let Some(at) = patches.shadows.iter().position(|s| s.text == text) {
            return Some(at);
        }
        if patches.shadows.len() >= MOST_SHADOWS {
            return None;
        }
        let taken = |range: &Range<u64>| {
            !vmas.is_free(range.clone()) || patches.shadows.iter().any(|s| overlap(&s.range, range))
        };
        let range = patcher.shadows(text.clone()).into_iter().find(|range| !taken(range))?;
        patches.shadows.push(Shadow { text, range, pages: BTreeMap::new() });
        Some(patches.shadows.len() - 1)
    }

    /// Writes a trampoline, and maps it if that is wanted now.
    pub(crate) fn write_trampoline(
        &self,
        state: &mut State,
        changes: &mut Changes,
        shadow: usize,
        plan: &Patch,
        map: bool,
    ) -> Option<()> {
        let shadow = state.patches.shadows.get_mut(shadow)?;
        let at = page(plan.trampoline);
        let old = shadow.pages.get(&at).copied();
        let frames = match old {
            // Nobody runs what is being written, and what is next to it stays as it is.
            Some((frames, _)) if self.frames.refs(frames).0 == 1 => frames,
            // After a fork, each side has trampolines of its own.
            Some((shared, _)) => {
                let frames = self.frames.alloc(PAGE_SIZE, AllocOptions { overwritten: true, at: None }).ok()?;
                changes.free(shared);
                self.frames.range(frames).copy_from(&self.frames.range(shared)).ok()?;
                frames
            }
            None => self.frames.alloc(PAGE_SIZE, AllocOptions { overwritten: false, at: None }).ok()?,
        };
        let inside = (plan.trampoline - at) as usize;
        let written = self.frames.range(frames).slice(inside, plan.code.len()).write(&plan.code);
        let mapped = old == Some((frames, true));
        if map && !mapped {
            changes.map_code(self.frames.file().fd(), at, frames, TRAMPOLINE);
        }
        shadow.pages.insert(at, (frames, map || mapped));
        written.ok()
    }

    /// Puts a copy in the place of a page of code, unless this change has done so already: nobody runs it yet.
    fn renew_code(&self, state: &mut State, changes: &mut Changes, this: u64, prot: Prot) -> Option<()> {
        if !changes.renewed.contains(&this) {
            self.ensure(state, changes, this, READ).ok()?;
            self.copy_pages(state, changes, this, this..this + PAGE_SIZE, prot).ok()?;
            changes.renewed.push(this);
        }
        Some(())
    }

    /// Puts a copy with other bytes in the place of a page of code.
    fn write_code(&self, state: &mut State, changes: &mut Changes, addr: u64, bytes: &[u8], prot: Prot) -> Option<()> {
        self.renew_code(state, changes, page(addr), prot)?;
        let (start, run) = state.runs.find(addr)?;
        let frames = run.frames(start)?;
        let inside = frames.slice(addr - start, bytes.len() as u64);
        self.frames.range(inside).write(bytes).ok()
    }

    /// Puts the sites of a range back as they were.
    pub(crate) fn put_back(&self, state: &mut State, changes: &mut Changes, range: Range<u64>) {
        let gone = state.patches.retire(range);
        if gone.is_empty() {
            return;
        }
        for patch in gone {
            let here = state.vmas.find(patch.at).map(|(_, vma)| vma.prot);
            let mut now = [0; JUMP];
            let still = self.read_code(state, changes, patch.at, &mut now).is_some() && now == patch.jump;
            if let Some(prot) = here.filter(|_| still) {
                self.write_code(state, changes, patch.at, &patch.original, prot);
            }
        }
        self.tell_sites(state);
    }

    /// Lets the platform know which sites are patched.
    pub(crate) fn tell_sites(&self, state: &State) {
        if let Some(space) = self.space.get() {
            space.set_patches(state.patches.sites());
        }
    }

    /// Makes room for something of the guest's where trampolines may be.
    pub(crate) fn vacate(&self, state: &mut State, changes: &mut Changes, range: Range<u64>) {
        while let Some(at) = state.patches.shadows.iter().position(|s| overlap(&s.range, &range)) {
            let shadow = state.patches.shadows.swap_remove(at);
            self.put_back(state, changes, shadow.text);
            Arc::make_mut(&mut state.patches.sites).forget_trampolines(shadow.range);
            self.tell_sites(state);
            for (at, (frames, installed)) in shadow.pages {
                if installed {
                    changes.unmap(at..at + PAGE_SIZE);
                }
                changes.free(frames);
            }
        }
    }

    /// Forgets the sites of a range that is being unmapped, and its trampolines if no text is left.
    pub(crate) fn forget_patches(&self, state: &mut State, changes: &mut Changes, range: &Range<u64>) {
        state.patches.used.retain(|(start, _)| !range.contains(start));
        if state.patches.shadows.is_empty() {
            return;
        }
        if !state.patches.forget(range.clone()).is_empty() {
            self.tell_sites(state);
        }
        let done = |s: &Shadow| range.start <= s.text.start && s.text.end <= range.end;
        while let Some(at) = state.patches.shadows.iter().position(done) {
            let gone = state.patches.shadows.get(at).map(|s| s.range.clone()).unwrap_or_default();
            self.vacate(state, changes, gone);
        }
    }

    /// Maps trampolines that are not mapped yet. Returns whether `addr` is in one now.
    pub(crate) fn install_trampolines(&self, state: &mut State, changes: &mut Changes, addr: u64) -> bool {
        let mut found = false;
        for shadow in &mut state.patches.shadows {
            found |= shadow.pages.contains_key(&page(addr));
            for (at, (frames, installed)) in &mut shadow.pages {
                if !*installed || *at == page(addr) {
                    *installed = true;
                    changes.map_code(self.frames.file().fd(), *at, *frames, TRAMPOLINE);
                }
            }
        }
        if found && self.learns {
            self.habit.called();
        }
        found
    }

    /// For a fork: the same patches, none of them mapped yet. The child counts its own traps: it may live for a few calls only,
    /// as all of its kind.
    pub(crate) fn copy_patches(&self, state: &State, copy: &mut State) {
        copy.patches.traps = state.patches.traps.iter().filter(|(_, n)| **n == NEVER).map(|(s, n)| (*s, *n)).collect();
        copy.patches.shadows.clone_from(&state.patches.shadows);
        copy.patches.sites = state.patches.sites.clone();
        copy.patches.forget_installed();
        for (frames, _) in copy.patches.shadows.iter().flat_map(|shadow| shadow.pages.values()) {
            self.frames.inc(*frames);
        }
    }
}
