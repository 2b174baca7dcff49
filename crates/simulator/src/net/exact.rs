//! The global solution, to hold the local one against: progressive filling, as in any textbook.

/// Max-min fair rates of flows over links of `capacities`. Each path names links.
pub(super) fn max_min(capacities: &[f64], paths: &[Vec<usize>]) -> Vec<f64> {
    let mut rates = vec![None; paths.len()];
    let mut spare = capacities.to_vec();
    loop {
        let open = |link: usize| {
            (paths.iter().zip(&rates))
                .filter(|(path, rate)| rate.is_none() && path.contains(&link))
                .count()
        };
        let tightest = (0..spare.len())
            .filter(|&link| open(link) > 0)
            .map(|link| (spare[link].max(0.0) / open(link) as f64, link))
            .min_by(|a, b| a.0.total_cmp(&b.0));
        let Some((level, link)) = tightest else {
            return rates
                .into_iter()
                .map(|rate| rate.expect("all are fixed"))
                .collect();
        };
        for (path, rate) in paths.iter().zip(&mut rates) {
            if rate.is_none() && path.contains(&link) {
                *rate = Some(level);
                for &crossed in path {
                    spare[crossed] -= level;
                }
            }
        }
    }
}
