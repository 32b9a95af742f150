//! Which training samples are held out: those by which a layer, a rate or a penalty is chosen, so that the test side
//! never is.

/// `n` samples spread evenly over the training side and over its classes, ascending.
///
/// Samples are put in the order of their classes, within a class in that of the data, and taken at even distances:
/// every class gives its share, whatever the order of the data. All of them where there are fewer.
pub(crate) fn held_out(labels: &[u32], n: usize) -> Vec<usize> {
    let n = n.min(labels.len());
    let mut by_class: Vec<usize> = (0..labels.len()).collect();
    by_class.sort_by_key(|&i| labels[i]);
    let mut chosen: Vec<usize> = (0..n).map(|i| by_class[(2 * i + 1) * labels.len() / (2 * n)]).collect();
    chosen.sort_unstable();
    chosen
}

/// The samples that are not among `chosen`, which ascend.
pub(crate) fn the_others(n: usize, chosen: &[usize]) -> Vec<usize> {
    (0..n).filter(|i| chosen.binary_search(i).is_err()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_gives_its_share_even_where_classes_take_turns() {
        let labels: Vec<u32> = (0..120).map(|i| i % 12).collect();
        let chosen = held_out(&labels, 24);
        for class in 0..12 {
            assert_eq!(chosen.iter().filter(|&&i| labels[i] == class).count(), 2);
        }
        assert!(chosen.windows(2).all(|pair| pair[0] < pair[1]));
        let others = the_others(120, &chosen);
        assert_eq!(others.len(), 96);
        assert!(others.iter().all(|i| !chosen.contains(i)));
        assert_eq!(held_out(&labels[..3], 24), [0, 1, 2]);
    }
}
