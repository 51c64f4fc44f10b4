//! Which tests can hold at all, and which hold whenever others do.
//!
//! A value of each sort that the tests can tell apart is tried, so both answers are exact for one attribute.
//! Attributes are taken to be independent, so what is said of several may miss something and is never wrong.

use crate::sla::policy::{Match, Scalar, Test};

/// Whether some lead can meet all of them.
pub(super) fn can_hold(matches: &[Match]) -> bool {
    matches.iter().all(|one| values(&[&one.tests]).iter().any(|value| hold(&one.tests, value)))
}

/// Whether a lead that meets all of `narrow` meets all of `wide` too.
pub(super) fn imply(narrow: &[Match], wide: &[Match]) -> bool {
    wide.iter().all(|wide| {
        let tests = narrow.iter().find(|narrow| narrow.path == wide.path);
        let tests = tests.map_or(&[][..], |narrow| &narrow.tests);
        let values = values(&[tests, &wide.tests]);
        values.iter().all(|value| !hold(tests, value) || hold(&wide.tests, value))
    })
}

fn hold(tests: &[Test], value: &Option<Scalar>) -> bool {
    tests.iter().all(|test| test.holds(value.as_ref().map(Scalar::value)))
}

/// One value of each sort that the tests can tell apart; `None` is absent.
fn values(tests: &[&[Test]]) -> Vec<Option<Scalar>> {
    let unnamed = Scalar::Text("\0".to_string());
    let mut values =
        vec![None, Some(Scalar::Other), Some(unnamed), Some(Scalar::Bool(true)), Some(Scalar::Bool(false))];
    let mut numbers = Vec::new();
    for test in tests.iter().copied().flatten() {
        match test {
            Test::AnyOf(scalars) | Test::NoneOf(scalars) => values.extend(scalars.iter().cloned().map(Some)),
            Test::Compared(_, bound) => numbers.push(*bound),
            Test::Present(_) => {}
        }
    }
    let named = values.iter().filter_map(|value| match value {
        Some(Scalar::Number(number)) => Some(*number),
        _ => None,
    });
    numbers.extend(named.collect::<Vec<_>>());
    values.extend(around(numbers).into_iter().map(|number| Some(Scalar::Number(number))));
    values
}

/// The numbers, one between each two, and one beyond either end.
fn around(mut numbers: Vec<f64>) -> Vec<f64> {
    numbers.sort_by(f64::total_cmp);
    let between = numbers.windows(2).map(|pair| (pair[0] + pair[1]) / 2.0);
    let ends =
        [numbers.first().map_or(0.0, |first| first - 1.0), numbers.last().map_or(0.0, |last| last + 1.0)];
    between.chain(ends).chain(numbers.iter().copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::{can_hold, imply};
    use crate::config::read_policies;
    use crate::sla::policy::Match;

    fn matches(written: &str) -> Vec<Match> {
        let text = format!("policies: [{{name: a, match: {written}, objectives: {{}}}}]");
        read_policies("p.yaml", &text).expect("valid policies").policies.swap_remove(0).matches
    }

    #[test]
    fn what_contradicts_itself_never_holds() {
        for (written, expected) in [
            ("{}", true),
            ("{a: b}", true),
            ("{a: {gte: 10, lte: 10}}", true),
            ("{a: {gte: 10, lte: 10, not: 10}}", false),
            ("{a: {gt: 10, lte: 10}}", false),
            ("{a: {gt: 1, lt: 2, not: 1.5}}", true),
            ("{a: {gte: 10, lt: 5}}", false),
            ("{a: {present: false, gte: 1}}", false),
            ("{a: {present: false, not: x}}", true),
            ("{a: {present: true, not: [true, false, x]}}", true),
            ("{a: b, c: {gte: 10, lt: 5}}", false),
        ] {
            assert_eq!(can_hold(&matches(written)), expected, "{written}");
        }
    }

    #[test]
    fn the_narrower_implies_the_wider() {
        for (narrow, wide, expected) in [
            ("{a: b}", "{}", true),
            ("{}", "{a: b}", false),
            ("{a: b, c: d}", "{a: [b, x]}", true),
            ("{a: [b, y]}", "{a: [b, x]}", false),
            ("{a: 10}", "{a: {gte: 10}}", true),
            ("{a: \"10\"}", "{a: {gte: 10}}", false),
            ("{a: {gt: 10}}", "{a: {gte: 10}}", true),
            ("{a: {gte: 10}}", "{a: {gt: 10}}", false),
            ("{a: {gte: 10, lt: 20}}", "{a: {gte: 5, not: 30}}", true),
            ("{a: {gte: 10, lt: 40}}", "{a: {gte: 5, not: 30}}", false),
            ("{a: b}", "{a: {present: true}}", true),
            ("{a: {not: b}}", "{a: {present: true}}", false),
            ("{}", "{a: {not: b}}", false),
        ] {
            assert_eq!(imply(&matches(narrow), &matches(wide)), expected, "{narrow} {wide}");
        }
    }
}
