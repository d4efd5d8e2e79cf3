"""Judges a run's output by the rule of the request, or else by the rule of the image."""

from runner.colour.colour import Colour, Judgement
from runner.colour.image_rules import ImageRules
from runner.colour.lambda_evaluator import LambdaEvaluator
from runner.colour.rules import ColourRule, RubyLambda


class Judge:
    """Applies rules to the output of runs. Any thread may use it."""

    def __init__(self, lambda_evaluator: LambdaEvaluator, image_rules: ImageRules) -> None:
        self._lambda_evaluator = lambda_evaluator
        self._image_rules = image_rules

    def judge(
        self, rule: ColourRule | None, image_name: str, stdout: bytes, stderr: bytes, status: int
    ) -> Judgement:
        """Return the colour of a run that ended by itself; raise EngineUnavailable."""
        if rule is None:
            of_image = self._image_rules.of(image_name)
            if of_image.rule is None:
                return Judgement(Colour.FAULTY, of_image.fault or "no colour rule was given")
            rule = of_image.rule
        if isinstance(rule, RubyLambda):
            return self._lambda_evaluator.judge(rule, stdout, stderr, status)
        return Judgement(rule.colour(stdout, stderr))
