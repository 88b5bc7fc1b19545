//! System call sites that programs use from their start, learnt from earlier ones.
//!
//! A patch costs a fresh process more than ten traps, so most processes end before any of their sites is worth one. But programs
//! use the same few pages of the same libraries, and a page that is patched before anybody runs it costs little. So what
//! sites of a text trapped is summed up when address spaces end, and where that is often, later ones begin with them patched.
//!
//! What is learnt of one process says only where to look in others. A guest can make any two bytes trap in its own text, so
//! there the patcher must be certain that they are a system call of the code itself: the bytes of the file alone decide, and what
//! was made of them before is used again only where the page has the same ones. Each address space has copies and
//! trampolines of its own. Locks: `LEAF`.

use crate::change::Changes;
use crate::patch::{AFTER, BEFORE, NEVER, PatchState, SYSCALL, patchable};
use crate::prot::{NO_ACCESS, Prot, READ};
use crate::runs::Kind;
use crate::{MemoryManager, State, page};
use abi::PAGE_SIZE;
use core::ops::Range;
use lock::{Mutex, rank};
use platform::{Code, Patch, Patcher};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// So many processes must have used a text before anything is concluded.
const ENOUGH: u32 = 6;
/// A page is patched from the start if so many calls are made from it, on average.
const WORTH: u32 = 4;
/// What is known of older uses counts half after so many.
const FADE: u32 = 1024;
/// Texts, and sites of each, that are known at most.
const MOST_TEXTS: usize = 256;
const MOST_SITES: usize = 128;
/// Pages of a text that are patched from the start at most: each costs everybody who runs it some mappings.
const MOST_PAGES: usize = 12;
/// Texts of an address space that count.
const MOST_USED: usize = 64;

/// Which text: the file, and what part of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct TextId {
    pub file: u64,
    pub offset: u64,
    pub len: u64,
}

/// A patch that was made, for the same code at other addresses.
pub(crate) struct Known {
    patch: Patch,
    text: u64,
    shadow: u64,
    window: Range<u64>,
    code: Vec<u8>,
}

enum Site {
    /// It has trapped so often.
    Counted(u32),
    /// It is patched from the start.
    Hot(Option<Arc<Known>>),
    /// It can't be.
    Never,
}

#[derive(Default)]
struct Text {
    uses: u32,
    /// By their distance from the text's start.
    sites: BTreeMap<u64, Site>,
}

impl Text {
    fn count(&mut self, at: u64, traps: u32) {
        if self.sites.len() >= MOST_SITES && !self.sites.contains_key(&at) {
            return;
        }
        if let Site::Counted(n) = self.sites.entry(at).or_insert(Site::Counted(0)) {
            *n = n.saturating_add(traps);
        }
    }

    /// Finds the pages that are worth it.
    fn conclude(&mut self) {
        if self.uses < ENOUGH {
            return;
        }
        let mut pages: BTreeMap<u64, u32> = BTreeMap::new();
        let mut hot: BTreeSet<u64> = BTreeSet::new();
        for (at, site) in &self.sites {
            match site {
                Site::Counted(n) => {
                    let sum = pages.entry(page(*at)).or_default();
                    *sum = sum.saturating_add(*n);
                }
                Site::Hot(_) => {
                    hot.insert(page(*at));
                }
                Site::Never => {}
            }
        }
        let room = MOST_PAGES.saturating_sub(hot.len());
        let worth = pages.into_iter().filter(|(at, sum)| !hot.contains(at) && *sum / WORTH >= self.uses);
        let more: Vec<u64> = worth.map(|(at, _)| at).take(room).collect();
        hot.extend(more);
        for (at, site) in &mut self.sites {
            if hot.contains(&page(*at)) && matches!(site, Site::Counted(n) if *n >= self.uses / 2) {
                *site = Site::Hot(None);
            }
        }
        if self.uses >= FADE {
            self.fade();
        }
    }

    fn fade(&mut self) {
        self.uses /= 2;
        for site in self.sites.values_mut() {
            if let Site::Counted(n) = site {
                *n /= 2;
            }
        }
    }
}

/// What patches the sites of all address spaces of a sandbox, and what it has learnt.
pub struct Texts {
    patcher: Arc<dyn Patcher>,
    known: Mutex<HashMap<TextId, Text>>,
}

impl Texts {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(patcher: Arc<dyn Patcher>) -> Arc<Texts> {
        Arc::new(Texts { patcher, known: Mutex::new(rank::LEAF, HashMap::new()) })
    }

    pub(crate) fn patcher(&self) -> &dyn Patcher {
        &*self.patcher
    }

    /// Another address space uses a text: what of it is to be patched at once.
    fn begin(&self, id: TextId) -> Vec<(u64, Option<Arc<Known>>)> {
        let mut known = self.known.lock();
        if known.len() >= MOST_TEXTS && !known.contains_key(&id) {
            known.clear();
        }
        let text = known.entry(id).or_default();
        text.uses = text.uses.saturating_add(1);
        let hot = text.sites.iter().filter_map(|(at, site)| match site {
            Site::Hot(known) => Some((*at, known.clone())),
            _ => None,
        });
        hot.collect()
    }

    fn set(&self, id: TextId, at: u64, to: Site) {
        if let Some(site) = self.known.lock().get_mut(&id).and_then(|text| text.sites.get_mut(&at)) {
            *site = to;
        }
    }

    /// Learns from an address space that ends.
    pub(crate) fn learn(&self, patches: &PatchState) {
        if patches.used.is_empty() || patches.traps.is_empty() {
            return;
        }
        for (start, id) in &patches.used {
            let traps = patches.traps.range(*start..).filter(|(_, n)| **n != NEVER);
            let inside = traps.map(|(site, n)| (site, site - start, *n)).take_while(|(_, at, _)| *at < id.len);
            // Locked anew for each: a guest can see to it that all of them have many sites.
            let mut known = self.known.lock();
            let Some(text) = known.get_mut(id) else { continue };
            for (site, at, n) in inside {
                // One that has been patched would have trapped more.
                let patched = patches.sites.of_call(site.saturating_add(SYSCALL)).is_some();
                text.count(at, if patched { n.max(WORTH) } else { n });
            }
            text.conclude();
        }
    }
}

impl Known {
    /// The patch, if this is the same code with its trampolines at the same distance.
    fn fitting(&self, code: Code<'_>, text: &Range<u64>, shadow: &Range<u64>) -> Option<Patch> {
        let by = text.start.wrapping_sub(self.text);
        let same = self.window.start.wrapping_add(by) == code.start
            && self.code == code.bytes
            && self.shadow.wrapping_add(by) == shadow.start;
        same.then(|| self.patch.displaced(by))
    }
}

impl MemoryManager {
    /// Patches what is known to be used of the text at `addr`, of which nothing is installed yet. Returns whether there was
    /// something.
    pub(crate) fn patch_known(&self, state: &mut State, changes: &mut Changes, addr: u64) -> bool {
        let Some(texts) = &self.texts else { return false };
        let Some((text, prot, id)) = patchable(state, addr) else { return false };
        if state.patches.plain > 0 || state.patches.used.len() >= MOST_USED {
            return false;
        }
        if state.patches.used.iter().any(|(start, used)| *start == text.start && *used == id) {
            return false;
        }
        state.patches.used.push((text.start, id));
        let mut hot = texts.begin(id).into_iter().peekable();
        let mut any = false;
        while let Some((first, _)) = hot.peek() {
            let this = page(text.start.saturating_add(*first));
            let mut sites = Vec::new();
            while let Some(site) = hot.next_if(|(at, _)| page(text.start.saturating_add(*at)) == this) {
                sites.push(site);
            }
            any |= self.patch_page(state, changes, texts, (&text, prot, id), this, sites).is_some();
        }
        if any {
            self.tell_sites(state);
            if state.installed_bound > 0 {
                self.install_trampolines(state, changes, 0);
            }
        }
        any
    }

    /// Gives a text its own copy of a page, with jumps in it.
    fn patch_page(
        &self,
        state: &mut State,
        changes: &mut Changes,
        texts: &Texts,
        (text, prot, id): (&Range<u64>, Prot, TextId),
        this: u64,
        sites: Vec<(u64, Option<Arc<Known>>)>,
    ) -> Option<()> {
        self.ensure(state, changes, this, READ).ok()?;
        if state.runs.find(this).is_some_and(|(_, run)| run.kind == Kind::File && run.installed == NO_ACCESS) {
            self.copy_pages(state, changes, this, this..this + PAGE_SIZE, prot).ok()?;
        }
        let (start, run) = state.runs.find(this)?;
        let frames = run.frames(start)?.slice(this - start, PAGE_SIZE);
        // Nobody runs it, and nobody else has it.
        if run.kind != Kind::Own || run.installed != NO_ACCESS || self.frames.refs(frames).0 != 1 {
            return None;
        }
        let mut code = vec![0; PAGE_SIZE as usize];
        self.frames.range(frames).read(&mut code).ok()?;
        let at = self.shadow(state, texts.patcher(), text.clone())?;
        for (offset, known) in sites {
            let site = text.start + offset;
            let place = Place { text, shadow: at, page: this, code: &code, site };
            let made = self.plan_known(state, changes, texts, place, known.as_deref());
            let Some((patch, window)) = made else {
                texts.set(id, offset, Site::Never);
                continue;
            };
            self.write_trampoline(state, changes, at, &patch, false)?;
            let inside = frames.slice(patch.at.checked_sub(this)?, patch.jump.len() as u64);
            self.frames.range(inside).write(&patch.jump).ok()?;
            if known.is_none() {
                let shadow = state.patches.shadows.get(at)?.range.start;
                let bytes = code.get((window.start - this) as usize..(window.end - this) as usize)?.to_vec();
                let known = Known { patch: patch.clone(), text: text.start, shadow, window, code: bytes };
                texts.set(id, offset, Site::Hot(Some(Arc::new(known))));
            }
            Arc::make_mut(&mut state.patches.sites).insert(Arc::new(patch));
        }
        Some(())
    }

    /// The patch for a site of a page that is as in its file, and where in the page is what it was made from.
    fn plan_known(
        &self,
        state: &mut State,
        changes: &mut Changes,
        texts: &Texts,
        place: Place<'_>,
        known: Option<&Known>,
    ) -> Option<(Patch, Range<u64>)> {
        let Place { text, shadow, page, code, site } = place;
        let window =
            site.saturating_sub(BEFORE).max(page)..site.checked_add(AFTER)?.min(page + PAGE_SIZE).min(text.end);
        let inside = code.get((window.start - page) as usize..(window.end - page) as usize)?;
        let there = state.patches.shadows.get(shadow)?.range.clone();
        let here = Code { start: window.start, bytes: inside };
        if let Some(patch) = known.and_then(|known| known.fitting(here, text, &there)) {
            let range = patch.trampoline..patch.trampoline.checked_add(patch.code.len() as u64)?;
            if !state.patches.sites.occupied(range) {
                return Some((patch, window));
            }
        }
        let first = site.saturating_sub(BEFORE).max(text.start).min(window.start);
        let last = site.checked_add(AFTER)?.min(text.end).max(window.end);
        let mut bytes = vec![0; (window.start - first) as usize];
        self.read_code(state, changes, first, &mut bytes)?;
        bytes.extend(inside);
        let mut rest = vec![0; (last - window.end) as usize];
        self.read_code(state, changes, window.end, &mut rest)?;
        bytes.extend(rest);
        let code = Code { start: first, bytes: &bytes };
        let patcher = texts.patcher();
        if !patcher.certain(code, site) {
            return None;
        }
        let patch =
            self.plan_patch(state, patcher, code, (site, None), text.clone(), state.patches.shadows.get(shadow)?)?;
        (patch.at >= page).then_some((patch, window))
    }
}

/// Where a site is.
#[derive(Clone, Copy)]
struct Place<'a> {
    text: &'a Range<u64>,
    shadow: usize,
    /// The page, and what is in it.
    page: u64,
    code: &'a [u8],
    site: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hot(text: &Text) -> Vec<u64> {
        text.sites.iter().filter(|(_, site)| matches!(site, Site::Hot(_))).map(|(at, _)| *at).collect()
    }

    #[test]
    fn pages_that_call_often_are_patched() {
        let mut text = Text::default();
        for _ in 0..ENOUGH {
            assert!(hot(&text).is_empty());
            text.uses += 1;
            // Together they are worth it; the third is in the same page, but rare; the fourth is alone.
            [(0x1010, 2), (0x1020, 2), (0x5000, 3)].iter().for_each(|(at, n)| text.count(*at, *n));
            text.count(0x1030, u32::from(text.uses == 1));
            text.conclude();
        }
        assert_eq!(hot(&text), [0x1010, 0x1020]);
        // They stay so, though they don't trap any more, and others of the page follow.
        text.uses += 100;
        text.count(0x1030, 60);
        text.conclude();
        assert_eq!(hot(&text), [0x1010, 0x1020, 0x1030]);
    }

    #[test]
    fn nobody_can_make_it_much() {
        let mut text = Text { uses: ENOUGH, ..Text::default() };
        (0..1000).for_each(|n| text.count(n * PAGE_SIZE, 1000));
        assert_eq!(text.sites.len(), MOST_SITES);
        text.conclude();
        assert_eq!(hot(&text).len(), MOST_PAGES);
        text.uses = FADE;
        text.conclude();
        assert_eq!((text.uses, hot(&text).len()), (FADE / 2, MOST_PAGES));
    }

    #[test]
    fn a_patch_fits_the_same_code_only() {
        let patch = Patch {
            at: 0x11_0000,
            call: 0x11_0005,
            original: [0x90; 5],
            jump: [0xe9; 5],
            trampoline: 0x51_0000,
            code: vec![0x90; 8],
            moved: vec![(0x11_0000, 0x51_0000)],
        };
        let (window, code) = (0x11_0000..0x11_0004, vec![1, 2, 3, 4]);
        let known = Known { patch, text: 0x10_0000, shadow: 0x50_0000, window, code };
        let (text, shadow) = (0x70_0000..0x80_0000, 0xb0_0000..0xc0_0000);
        let fitting = known.fitting(Code { start: 0x71_0000, bytes: &[1, 2, 3, 4] }, &text, &shadow).expect("fits");
        assert_eq!(
            (fitting.at, fitting.trampoline, fitting.moved),
            (0x71_0000, 0xb1_0000, vec![(0x71_0000, 0xb1_0000)])
        );
        assert!(known.fitting(Code { start: 0x71_0000, bytes: &[1, 2, 3, 5] }, &text, &shadow).is_none());
        assert!(known.fitting(Code { start: 0x71_0001, bytes: &[1, 2, 3, 4] }, &text, &shadow).is_none());
        assert!(
            known.fitting(Code { start: 0x71_0000, bytes: &[1, 2, 3, 4] }, &text, &(0xb0_1000..0xc0_0000)).is_none()
        );
    }
}
