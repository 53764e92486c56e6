use proptest::prelude::*;

use super::*;

#[test]
fn the_median_of_an_even_number_is_the_middle_of_the_two_in_the_middle() {
    assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), Some(2.5));
    assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
    assert_eq!(median(&[]), None);
}

#[test]
fn equal_rounds_have_an_interval_without_width() {
    assert_eq!(estimate(&[0.9; 7]), Some(Estimate { median: 0.9, low: 0.9, high: 0.9 }));
}

#[test]
fn the_interval_of_one_round_is_the_round() {
    assert_eq!(estimate(&[1.5]), Some(Estimate { median: 1.5, low: 1.5, high: 1.5 }));
    assert_eq!(estimate(&[]), None);
}

#[test]
fn one_disturbed_round_of_many_does_not_move_the_interval_far() {
    let rounds = [0.90, 0.91, 0.92, 0.91, 0.90, 0.93, 0.92, 5.0, 0.91];
    let found = estimate(&rounds).unwrap();
    assert_eq!(found.median, 0.91);
    assert!(found.low >= 0.90 && found.high <= 0.93, "{found:?}");
}

#[test]
fn a_ratio_is_taken_within_a_round_and_only_where_both_ran() {
    let slow_machine = [Some(9.0), Some(90.0), None, Some(1.0), Some(3.0)];
    let clean = [Some(10.0), Some(100.0), Some(1.0), None, Some(0.0)];
    assert_eq!(ratios(&slow_machine, &clean), [0.9, 0.9]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn the_median_lies_in_its_interval_and_the_interval_in_the_values(
        values in proptest::collection::vec(0.01f64..1e6, 1..30)
    ) {
        let found = estimate(&values).unwrap();
        let least = values.iter().copied().fold(f64::MAX, f64::min);
        let most = values.iter().copied().fold(f64::MIN, f64::max);
        prop_assert!(least <= found.low && found.low <= found.median);
        prop_assert!(found.median <= found.high && found.high <= most);
    }
}
