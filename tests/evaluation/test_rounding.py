from __future__ import annotations

from minivess.evaluation.bootstrap import mean_interval, paired_bootstrap_test
from minivess.evaluation.rounding import p_value, rounded


class TestRounded:
    def test_numbers_that_are_read_together_have_the_decimals_of_the_largest(self):
        assert rounded(0.7391, 0.5918, 0.8261) == ("0.739", "0.592", "0.826")
        assert rounded(9.81, 8.2, 12.14) == ("9.8", "8.2", "12.1")
        assert rounded(439.286, 120.988, 1129.597) == ("439", "121", "1130")

    def test_an_infinite_one_decides_nothing(self):
        assert rounded(0.5, float("inf")) == ("0.500", "inf")

    def test_small_p_values_keep_a_digit(self):
        assert [p_value(0.0312), p_value(0.0001)] == ["0.031", "0.0001"]


class TestWhatIsRead:
    def test_a_mean_and_its_bounds(self):
        assert str(mean_interval([200.0, 200.0])) == "200 (all cases equal, no interval)"
        assert mean_interval([0.5]).parts == ("0.500", "(one case, no interval)")

    def test_a_difference_has_its_sign_and_the_other_way_round_the_other(self):
        test = paired_bootstrap_test([3.0, 3.0, 5.0], [1.0, 1.0, 2.0])
        low, high = rounded(test.interval.low, test.interval.high)
        assert str(test) == f"+2.333 [{low}, {high}]"
        assert str(test.reversed) == f"-2.333 [-{high}, -{low}]"
        assert (test.reversed.a_larger, test.reversed.b_larger, test.reversed.effect_size) == (0, 3, -1.0)
