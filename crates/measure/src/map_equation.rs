//! Communities of a graph by the two-level map equation: the partition that describes a random walk in the fewest bits.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::collections::BTreeMap;

/// A move must gain more than this, in bits.
const LEAST_GAIN: f64 = 1e-16;
/// A sweep that gains no more than this is the last.
const LEAST_SWEEP: f64 = 1e-10;
/// Tuning ends when it gains less than this share of the length with one module.
const LEAST_TUNING: f64 = 1e-5;
/// Sweeps over nodes and over merged modules.
const SWEEPS: [usize; 2] = [10, 20];

/// An undirected graph; nodes count from 0.
#[derive(Clone, Debug, PartialEq)]
pub struct Graph {
    /// Nodes.
    pub n_nodes: usize,
    /// `(i, j, weight)`, each pair once, `i ≠ j`, weights above 0.
    pub edges: Vec<(usize, usize, f64)>,
}

/// How the walk is described.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Walk {
    /// Scales how often the walk moves along links: small values give many communities.
    pub markov_time: f64,
    /// The number of communities that is preferred: one bit for each more or less.
    pub preferred: Option<usize>,
}

/// How many bits a partition needs for a step of the walk.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CodeLength {
    /// For moves between modules.
    pub index: f64,
    /// For moves inside modules.
    pub module: f64,
    /// For the number of modules, where one is preferred.
    pub preference: f64,
}

impl CodeLength {
    /// Their sum.
    ///
    /// # Panics
    /// Never.
    ///
    /// # Source
    /// Definition.
    pub fn total(self) -> f64 {
        self.index + self.module + self.preference
    }
}

/// A partition and its length.
#[derive(Clone, Debug, PartialEq)]
pub struct Communities {
    /// The module of every node; modules count from 0 in the order of their first nodes.
    pub module: Vec<usize>,
    /// What it costs.
    pub length: CodeLength,
}

impl Communities {
    /// The number of modules.
    ///
    /// # Panics
    /// Never.
    ///
    /// # Source
    /// Definition.
    pub fn n_modules(&self) -> usize {
        self.module.iter().max().map_or(0, |&most| most + 1)
    }
}

/// `x log₂ x`, 0 at 0.
fn plogp(x: f64) -> f64 {
    if x > 0.0 { x * x.log2() } else { 0.0 }
}

/// The length of a partition.
///
/// With `p_i = s_i / 2W`, `q_m = t Σ_{i ∈ m, j ∉ m} w_ij / 2W` and `P_m = Σ_{i ∈ m} p_i`:
///
/// ```text
/// index  = plogp(Σ q_m) − Σ plogp(q_m)
/// module = Σ plogp(q_m + P_m) − Σ plogp(q_m) − Σ plogp(p_i)
/// ```
///
/// and `|modules − K|` where `K` modules are preferred.
///
/// # Shapes
/// `module`: the module of every node, any numbers.
///
/// # Panics
/// If the numbers of nodes differ, or the graph has no edge or one that cannot be.
///
/// # Source
/// Rosvall and Bergstrom 2008; Kheirkhahzadeh et al. 2016 (Markov time scales links only); Infomap 2.
pub fn code_length(graph: &Graph, module: &[usize], walk: &Walk) -> CodeLength {
    let flow = Flow::of(graph, walk);
    assert_eq!(module.len(), graph.n_nodes, "code_length: a module for each node");
    flow.length(&renumbered(module), walk)
}

/// The flow of the walk: of every unit and along its links. A unit is a node or several that move together.
#[derive(Clone, Debug)]
struct Flow {
    /// `P` of every unit.
    share: Vec<f64>,
    /// What leaves it for other units.
    out: Vec<f64>,
    /// To which units how much, ascending.
    links: Vec<Vec<(usize, f64)>>,
    /// `Σ plogp(p_i)` over the nodes of the graph.
    nodes: f64,
}

impl Flow {
    fn of(graph: &Graph, walk: &Walk) -> Self {
        assert!(walk.markov_time > 0.0, "map_equation: {walk:?}");
        let n = graph.n_nodes;
        let mut weights = vec![BTreeMap::new(); n];
        let mut total = 0.0;
        for &(i, j, weight) in &graph.edges {
            assert!(
                i != j && i < n && j < n && weight > 0.0,
                "map_equation: edge ({i}, {j}, {weight}) of {n} nodes"
            );
            for (from, to) in [(i, j), (j, i)] {
                let former = weights[from].insert(to, weight);
                assert!(former.is_none(), "map_equation: edge ({i}, {j}) twice");
            }
            total += 2.0 * weight;
        }
        assert!(total > 0.0, "map_equation: a graph without edges");
        let share: Vec<f64> = weights.iter().map(|to| to.values().sum::<f64>() / total).collect();
        let scale = walk.markov_time / total;
        let links: Vec<Vec<(usize, f64)>> =
            weights.into_iter().map(|to| to.into_iter().map(|(j, w)| (j, w * scale)).collect()).collect();
        let out = links.iter().map(|to: &Vec<(usize, f64)>| to.iter().map(|link| link.1).sum()).collect();
        let nodes = share.iter().map(|&p| plogp(p)).sum();
        Self { share, out, links, nodes }
    }

    fn len(&self) -> usize {
        self.share.len()
    }

    /// Units that were put into modules become the units.
    fn merged(&self, module: &[usize]) -> Self {
        let n = module.iter().max().map_or(0, |&most| most + 1);
        let mut share = vec![0.0; n];
        let mut links = vec![BTreeMap::new(); n];
        for (unit, &m) in module.iter().enumerate() {
            share[m] += self.share[unit];
            for &(to, flow) in self.links[unit].iter().filter(|&&(to, _)| module[to] != m) {
                *links[m].entry(module[to]).or_insert(0.0) += flow;
            }
        }
        let links: Vec<Vec<(usize, f64)>> = links.into_iter().map(|to| to.into_iter().collect()).collect();
        let out = links.iter().map(|to| to.iter().map(|link| link.1).sum()).collect();
        Self { share, out, links, nodes: self.nodes }
    }

    /// The units `members` alone, with the links among them.
    fn alone(&self, members: &[usize]) -> Self {
        let place: BTreeMap<usize, usize> =
            members.iter().enumerate().map(|(at, &unit)| (unit, at)).collect();
        let inside = |&unit: &usize| -> Vec<(usize, f64)> {
            self.links[unit].iter().filter_map(|(to, flow)| Some((*place.get(to)?, *flow))).collect()
        };
        let links: Vec<Vec<(usize, f64)>> = members.iter().map(inside).collect();
        let share: Vec<f64> = members.iter().map(|&unit| self.share[unit]).collect();
        let out = links.iter().map(|to| to.iter().map(|link| link.1).sum()).collect();
        let nodes = share.iter().map(|&p| plogp(p)).sum();
        Self { share, out, links, nodes }
    }

    fn length(&self, module: &[usize], walk: &Walk) -> CodeLength {
        let merged = self.merged(module);
        let sum = |f: &dyn Fn(usize) -> f64| (0..merged.len()).map(f).sum::<f64>();
        let exits = sum(&|m| plogp(merged.out[m]));
        CodeLength {
            index: plogp(sum(&|m| merged.out[m])) - exits,
            module: sum(&|m| plogp(merged.out[m] + merged.share[m])) - exits - self.nodes,
            preference: walk.preferred.map_or(0.0, |k| merged.len().abs_diff(k) as f64),
        }
    }
}

/// Modules numbered from 0 in the order of their first members.
fn renumbered(module: &[usize]) -> Vec<usize> {
    let mut number = BTreeMap::new();
    module
        .iter()
        .map(|&m| {
            let next = number.len();
            *number.entry(m).or_insert(next)
        })
        .collect()
}

/// Finds communities: the shortest description that a greedy search from this seed comes to.
///
/// Units move to the module that shortens the description most, in random order; modules are merged and moved in turn; then
/// nodes are moved one by one, and modules are split and their pieces moved, until neither gains. Without a preferred number, a
/// result longer than one module for all is replaced by that.
///
/// # Panics
/// As [`code_length`].
///
/// # Source
/// The two-level search of Infomap (Rosvall et al.). *Differs*: random draws are ours, and a node that is left alone moves on
/// its own when that gains: partitions may differ where lengths are close, so lengths are what to compare.
pub fn communities(graph: &Graph, walk: &Walk, seed: u64) -> Communities {
    let flow = Flow::of(graph, walk);
    let mut draws = ChaCha8Rng::seed_from_u64(seed);
    let one = flow.length(&vec![0; flow.len()], &Walk { preferred: None, ..*walk }).total();
    let singletons: Vec<usize> = (0..flow.len()).collect();
    let mut module = levels(&flow, singletons, walk, &mut draws);
    let mut length = flow.length(&module, walk).total();
    loop {
        let before = length;
        for tune in [fine, coarse] {
            let tuned = tune(&flow, &module, walk, &mut draws);
            let tuned_length = flow.length(&tuned, walk).total();
            if tuned_length < length {
                (module, length) = (tuned, tuned_length);
            }
        }
        if before - length <= LEAST_SWEEP.max(LEAST_TUNING * one) {
            break;
        }
    }
    if walk.preferred.is_none() && length > one {
        module = vec![0; flow.len()];
    }
    let module = renumbered(&module);
    let length = flow.length(&module, walk);
    Communities { module, length }
}

/// The shortest of the descriptions that the seeds come to; of equals the first.
///
/// # Panics
/// As [`code_length`], and if there is no seed.
///
/// # Source
/// Leopart runs ten seeds.
pub fn best_of(graph: &Graph, walk: &Walk, seeds: impl IntoIterator<Item = u64>) -> Communities {
    let found = seeds.into_iter().map(|seed| communities(graph, walk, seed));
    let best = found.reduce(|best, next| if next.length.total() < best.length.total() { next } else { best });
    best.unwrap_or_else(|| panic!("best_of: no seed"))
}

/// Nodes move from where they are, then modules.
fn fine(flow: &Flow, module: &[usize], walk: &Walk, draws: &mut ChaCha8Rng) -> Vec<usize> {
    levels(flow, module.to_vec(), walk, draws)
}

/// Every module is split by itself; its pieces move from where they are, then modules.
fn coarse(flow: &Flow, module: &[usize], walk: &Walk, draws: &mut ChaCha8Rng) -> Vec<usize> {
    let module = renumbered(module);
    let n_modules = module.iter().max().map_or(0, |&most| most + 1);
    let mut members = vec![Vec::new(); n_modules];
    for (unit, &m) in module.iter().enumerate() {
        members[m].push(unit);
    }
    let (mut piece_of, mut start) = (vec![0; flow.len()], Vec::new());
    for (m, members) in members.iter().enumerate() {
        let free = Walk { preferred: None, ..*walk };
        let pieces = levels(&flow.alone(members), (0..members.len()).collect(), &free, draws);
        let first = start.len();
        for (&unit, piece) in members.iter().zip(&pieces) {
            piece_of[unit] = first + piece;
        }
        start.resize(first + pieces.iter().max().map_or(0, |&most| most + 1), m);
    }
    let pieces = levels(&flow.merged(&piece_of), start, walk, draws);
    piece_of.into_iter().map(|piece| pieces[piece]).collect()
}

/// Moves units from the modules where they start, then whole modules, until nothing gains.
fn levels(flow: &Flow, start: Vec<usize>, walk: &Walk, draws: &mut ChaCha8Rng) -> Vec<usize> {
    let mut module = sweeps(flow, start, walk, SWEEPS[0], draws);
    loop {
        let merged = flow.merged(&module);
        let n = merged.len();
        let moved = sweeps(&merged, (0..n).collect(), walk, SWEEPS[1], draws);
        if moved.iter().max().is_none_or(|&most| most + 1 == n) {
            return module;
        }
        module = module.into_iter().map(|m| moved[m]).collect();
    }
}

/// The state of a sweep.
struct Moving<'a> {
    flow: &'a Flow,
    walk: &'a Walk,
    module: Vec<usize>,
    exit: Vec<f64>,
    share: Vec<f64>,
    n_members: Vec<usize>,
    n_modules: usize,
    exits: f64,
}

impl Moving<'_> {
    /// What changes when a unit goes from its module to another, of which it has the links `from` and `to`.
    fn gain(&self, unit: usize, from: f64, other: usize, to: f64) -> f64 {
        let (old, flow) = (self.module[unit], self.flow);
        let after = [
            (old, self.exit[old] - flow.out[unit] + 2.0 * from, self.share[old] - flow.share[unit]),
            (other, self.exit[other] + flow.out[unit] - 2.0 * to, self.share[other] + flow.share[unit]),
        ];
        let mut delta = 0.0;
        let mut exits = self.exits;
        for (m, exit, share) in after {
            // What cancels may leave a little below 0.
            let (exit, share) = (exit.max(0.0), share.max(0.0));
            exits += exit - self.exit[m];
            delta += 2.0 * (plogp(self.exit[m]) - plogp(exit));
            delta += plogp(exit + share) - plogp(self.exit[m] + self.share[m]);
        }
        delta += plogp(exits.max(0.0)) - plogp(self.exits);
        if let Some(k) = self.walk.preferred {
            let vanishes = usize::from(self.n_members[old] == 1);
            let appears = usize::from(self.n_members[other] == 0);
            let n_after = self.n_modules + appears - vanishes;
            delta += n_after.abs_diff(k) as f64 - self.n_modules.abs_diff(k) as f64;
        }
        delta
    }

    fn go(&mut self, unit: usize, from: f64, other: usize, to: f64) {
        let (old, flow) = (self.module[unit], self.flow);
        self.n_modules += usize::from(self.n_members[other] == 0);
        self.n_modules -= usize::from(self.n_members[old] == 1);
        self.n_members[old] -= 1;
        self.n_members[other] += 1;
        let before = self.exit[old] + self.exit[other];
        self.exit[old] = (self.exit[old] - flow.out[unit] + 2.0 * from).max(0.0);
        self.exit[other] = (self.exit[other] + flow.out[unit] - 2.0 * to).max(0.0);
        self.share[old] = (self.share[old] - flow.share[unit]).max(0.0);
        self.share[other] += flow.share[unit];
        if self.n_members[old] == 0 {
            (self.exit[old], self.share[old]) = (0.0, 0.0);
        }
        self.exits += self.exit[old] + self.exit[other] - before;
        self.module[unit] = other;
    }
}

/// Sweeps over the units in random order, each to the module where it gains most; modules numbered anew.
fn sweeps(flow: &Flow, start: Vec<usize>, walk: &Walk, most: usize, draws: &mut ChaCha8Rng) -> Vec<usize> {
    let n = flow.len();
    let start = renumbered(&start);
    let from = flow.merged(&start);
    let mut n_members = vec![0; n];
    start.iter().for_each(|&m| n_members[m] += 1);
    let pad = |values: &[f64]| values.iter().copied().chain(std::iter::repeat(0.0)).take(n).collect();
    let mut state = Moving {
        flow,
        walk,
        module: start,
        exit: pad(&from.out),
        share: pad(&from.share),
        n_members,
        n_modules: from.len(),
        exits: from.out.iter().sum(),
    };
    let mut is_dirty = vec![true; n];
    let mut order: Vec<usize> = (0..n).collect();
    for sweep in 0..most {
        shuffle(&mut order, draws);
        let mut gained = 0.0;
        for &unit in &order {
            let old = state.module[unit];
            let alone = state.n_members[old] == 1;
            // In the first sweep a unit that others joined stays.
            if !is_dirty[unit] || sweep == 0 && !alone && from.len() == n {
                continue;
            }
            is_dirty[unit] = false;
            let mut links: BTreeMap<usize, f64> = BTreeMap::new();
            for &(to, strength) in &flow.links[unit] {
                *links.entry(state.module[to]).or_insert(0.0) += strength;
            }
            let from = links.remove(&old).unwrap_or(0.0);
            if !alone {
                let empty = state.n_members.iter().position(|&members| members == 0);
                links.extend(empty.map(|empty| (empty, 0.0)));
            }
            let mut best: Option<(f64, usize, f64)> = None;
            for (&other, &to) in &links {
                let delta = state.gain(unit, from, other, to);
                let is_better = best.is_none_or(|(least, _, strongest)| {
                    delta < least - LEAST_GAIN || (delta - least).abs() <= LEAST_GAIN && to > strongest
                });
                if delta < -LEAST_GAIN && is_better {
                    best = Some((delta, other, to));
                }
            }
            if let Some((delta, other, to)) = best {
                state.go(unit, from, other, to);
                gained -= delta;
                flow.links[unit].iter().for_each(|&(neighbor, _)| is_dirty[neighbor] = true);
            }
        }
        if gained <= LEAST_SWEEP {
            break;
        }
    }
    renumbered(&state.module)
}

/// Every order as likely as another: for `i` from the last down, swap `i` with one of `0..=i`.
fn shuffle(items: &mut [usize], draws: &mut ChaCha8Rng) {
    for i in (1..items.len()).rev() {
        let below = ((u128::from(draws.next_u64()) * (i as u128 + 1)) >> 64) as usize;
        items.swap(i, below);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Two triangles 012 and 345, and a bridge from 2 to 3.
    fn triangles() -> Graph {
        let edges = [(0, 1), (1, 2), (0, 2), (3, 4), (4, 5), (3, 5), (2, 3)];
        Graph { n_nodes: 6, edges: edges.map(|(i, j)| (i, j, 1.0)).to_vec() }
    }

    fn nine() -> Graph {
        let edges = vec![
            (0, 1, 0.5),
            (1, 2, 0.4),
            (0, 2, 0.3),
            (2, 3, 0.1),
            (3, 4, 0.6),
            (4, 5, 0.2),
            (3, 5, 0.25),
            (5, 6, 0.12),
            (6, 7, 0.7),
            (7, 8, 0.5),
            (6, 8, 0.4),
            (1, 7, 0.05),
        ];
        Graph { n_nodes: 9, edges }
    }

    fn walk(markov_time: f64, preferred: Option<usize>) -> Walk {
        Walk { markov_time, preferred }
    }

    fn near(ours: f64, expected: f64) {
        assert!((ours - expected).abs() < 1e-9, "{ours} is not {expected}");
    }

    #[test]
    fn lengths_of_two_triangles() {
        let (two, one, singles) = ([0, 0, 0, 1, 1, 1], [0; 6], [0, 1, 2, 3, 4, 5]);
        let at = |module: &[usize], walk: Walk| code_length(&triangles(), module, &walk);
        near(at(&one, walk(1.0, None)).total(), 2.5566567075);
        let found = at(&singles, walk(0.1, None));
        near(found.index, 0.2556656707);
        near(found.module, 0.4834466856);
        let found = at(&two, walk(0.5, None));
        near(found.index, 0.0714285714);
        near(found.module, 1.9352559950);
        near(at(&two, walk(1.0, None)).total(), 2.3207303568);
        let found = at(&[0, 0, 0, 1, 2, 2], walk(1.0, Some(3)));
        near(found.index, 0.6253491073);
        near(found.module, 2.1967776787);
        let found = at(&two, walk(2.0, Some(3)));
        near(found.index, 0.2857142857);
        near(found.module + found.preference, 3.5392053587);
        near(at(&one, walk(1.0, Some(6))).total(), 2.5566567075 + 5.0);
        near(at(&singles, walk(1.0, Some(6))).total(), 4.5566567075);
    }

    #[test]
    fn the_search_finds_the_known_optima() {
        let of = |graph: &Graph, walk: Walk| best_of(graph, &walk, 0..10).length.total();
        for (t, k, length) in [
            (0.1, None, 0.7391123564),
            (0.5, None, 2.0066845664),
            (1.0, None, 2.3207303568),
            (2.0, None, 2.5566567075),
            (1.0, Some(3), 2.8221267860),
            (2.0, Some(3), 3.8249196444),
            (1.0, Some(6), 4.5566567075),
        ] {
            near(of(&triangles(), walk(t, k)), length);
        }
        for (t, k, length) in [
            (0.4, None, 1.7784464332),
            (1.0, None, 2.0233217927),
            (2.0, None, 2.3529735754),
            (1.0, Some(2), 2.4497061905),
        ] {
            near(of(&nine(), walk(t, k)), length);
        }
        // Five are preferred: the optimum is 2.5622116024; a greedy search may stop at 3.1345647280, not later.
        let found = of(&nine(), walk(1.0, Some(5)));
        assert!((2.5622116024 - 1e-9..3.1345647280 + 1e-9).contains(&found), "{found}");
    }

    /// The shortest description over every partition.
    fn brute_force(graph: &Graph, walk: &Walk) -> f64 {
        fn go(at: usize, most: usize, module: &mut Vec<usize>, graph: &Graph, walk: &Walk) -> f64 {
            if at == graph.n_nodes {
                return code_length(graph, module, walk).total();
            }
            let mut best = f64::INFINITY;
            for m in 0..=most {
                module.push(m);
                best = best.min(go(at + 1, most.max(m + 1), module, graph, walk));
                module.pop();
            }
            best
        }
        go(0, 0, &mut Vec::new(), graph, walk)
    }

    /// A graph of seven nodes whose edges have these weights; those of 3 and less are left out.
    fn of_weights(weights: impl IntoIterator<Item = u8>) -> Graph {
        let pairs = (0..7).flat_map(|i| (0..i).map(move |j| (j, i)));
        let weighed = pairs.zip(weights).filter(|(_, w)| *w > 3);
        Graph { n_nodes: 7, edges: weighed.map(|((i, j), w)| (i, j, f64::from(w))).collect() }
    }

    #[test]
    fn on_nearly_every_graph_nothing_is_shorter_than_what_is_found() {
        let mut draws = ChaCha8Rng::seed_from_u64(5);
        let (mut n_graphs, mut n_missed) = (0, 0);
        while n_graphs < 500 {
            let graph = of_weights((0..21).map(|_| (draws.next_u32() % 8) as u8));
            let walk = walk(0.3 + 1.7 * f64::from(draws.next_u32()) / f64::from(u32::MAX), None);
            if !graph.edges.is_empty() {
                let found = best_of(&graph, &walk, 0..10).length.total();
                n_missed += usize::from(found > brute_force(&graph, &walk) + 1e-9);
                n_graphs += 1;
            }
        }
        // A greedy search may end elsewhere, whatever the number of starts: of 1,500 graphs on 5.
        assert!(n_missed <= 3, "{n_missed} of {n_graphs}");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]
        #[test]
        fn what_is_found_is_at_most_a_twentieth_longer_than_the_shortest(
            weights in prop::collection::vec(0u8..8, 21),
            t in 0.3f64..2.0,
        ) {
            let graph = of_weights(weights);
            prop_assume!(!graph.edges.is_empty());
            let walk = walk(t, None);
            let found = best_of(&graph, &walk, 0..10);
            prop_assert!((code_length(&graph, &found.module, &walk).total() - found.length.total()).abs() < 1e-12);
            let least = brute_force(&graph, &walk);
            let length = found.length.total();
            prop_assert!((least - 1e-9..=1.05 * least + 1e-9).contains(&length), "{length} beside {least}");
        }
    }
}
