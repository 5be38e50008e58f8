//! Whether everything ends: the graph of all steps, and from which states the end can't be reached.
//!
//! Guarantees: a state is stuck when no path from it leads to a state in which every incident is closed; where the graph has no circle
//! either, every run ends so, whatever order things happen in. Must not: take a promise's breach for an end.

use std::collections::{HashMap, HashSet, VecDeque};

/// States by their print, and the steps between them.
#[derive(Debug, Default)]
pub(super) struct Graph {
    first: Option<u64>,
    edges: Vec<(u64, u64)>,
    over: HashSet<u64>,
}

/// What the graph says.
#[derive(Debug, Default)]
pub(super) struct Liveness {
    /// The prints of the way to a state from which the end can't be reached.
    pub(super) stuck: Option<Vec<u64>>,
    /// The prints of the way to a state that can be come back to, and around.
    pub(super) circle: Option<Vec<u64>>,
}

impl Graph {
    pub(super) fn begin(&mut self, first: u64, over: bool) {
        self.first = Some(first);
        if over {
            self.over.insert(first);
        }
    }

    pub(super) fn edge(&mut self, from: u64, to: u64, over: bool) {
        self.edges.push((from, to));
        if over {
            self.over.insert(to);
        }
    }

    /// Judges the graph once it is complete.
    pub(super) fn judge(&self) -> Liveness {
        let mut numbers: HashMap<u64, usize> = HashMap::new();
        let mut prints = Vec::new();
        let mut number = |print: u64| {
            *numbers.entry(print).or_insert_with(|| {
                prints.push(print);
                prints.len() - 1
            })
        };
        let first = self.first.map(&mut number);
        let mut edges: Vec<(usize, usize)> = self.edges.iter().map(|(from, to)| (number(*from), number(*to))).collect();
        edges.sort_unstable();
        edges.dedup();
        let states = prints.len();
        let forward = lists(states, edges.iter().copied());
        let backward = lists(states, edges.iter().map(|(from, to)| (*to, *from)));
        let ends: Vec<usize> = self.over.iter().filter_map(|print| numbers.get(print).copied()).collect();
        let can_end = reach(states, &ends, &backward);
        let stuck = first.and_then(|first| way_to(first, &forward, |state| !can_end[state]));
        let circle = first.and_then(|first| way_around(first, &forward, &backward));
        let told = |way: Vec<usize>| way.into_iter().map(|state| prints[state]).collect();
        Liveness { stuck: stuck.map(told), circle: circle.map(told) }
    }
}

fn lists(states: usize, edges: impl Iterator<Item = (usize, usize)>) -> Vec<Vec<usize>> {
    let mut lists = vec![Vec::new(); states];
    edges.for_each(|(from, to)| lists[from].push(to));
    lists
}

fn reach(states: usize, from: &[usize], lists: &[Vec<usize>]) -> Vec<bool> {
    let mut reached = vec![false; states];
    let mut queue: VecDeque<usize> = from.iter().copied().collect();
    while let Some(state) = queue.pop_front() {
        if !std::mem::replace(&mut reached[state], true) {
            queue.extend(lists[state].iter().filter(|next| !reached[**next]));
        }
    }
    reached
}

/// The shortest way to a state of this kind.
fn way_to(first: usize, lists: &[Vec<usize>], wanted: impl Fn(usize) -> bool) -> Option<Vec<usize>> {
    let mut came_from: HashMap<usize, usize> = HashMap::from([(first, first)]);
    let mut queue = VecDeque::from([first]);
    while let Some(state) = queue.pop_front() {
        if wanted(state) {
            let mut way = vec![state];
            while let Some(before) = came_from.get(way.last()?).filter(|before| Some(*before) != way.last()) {
                way.push(*before);
            }
            way.reverse();
            return Some(way);
        }
        for next in &lists[state] {
            if !came_from.contains_key(next) {
                came_from.insert(*next, state);
                queue.push_back(*next);
            }
        }
    }
    None
}

/// The shortest way to a state on a circle (or between two), and on until a state comes again; `None` where there are no circles.
fn way_around(first: usize, forward: &[Vec<usize>], backward: &[Vec<usize>]) -> Option<Vec<usize>> {
    let (led_to, leading_on) = (left_over(forward), left_over(backward));
    let goes_around = |state: usize| led_to[state] && leading_on[state];
    let mut way = way_to(first, forward, goes_around)?;
    let mut seen: HashSet<usize> = HashSet::new();
    while seen.insert(*way.last()?) {
        let next = forward[*way.last()?].iter().copied().find(|next| goes_around(*next))?;
        way.push(next);
    }
    Some(way)
}

/// Kahn's: what is left after taking away, again and again, what nothing leads to.
fn left_over(lists: &[Vec<usize>]) -> Vec<bool> {
    let mut leading_here = vec![0_usize; lists.len()];
    lists.iter().flatten().for_each(|next| leading_here[*next] += 1);
    let mut free: Vec<usize> = (0..lists.len()).filter(|state| leading_here[*state] == 0).collect();
    let mut left = vec![true; lists.len()];
    while let Some(state) = free.pop() {
        left[state] = false;
        for next in &lists[state] {
            leading_here[*next] -= 1;
            if leading_here[*next] == 0 {
                free.push(*next);
            }
        }
    }
    left
}
