"""Which rule gives a run its colour: the one that came with it, else that of its image."""

from runner.colour.image_rules import ImageRules
from runner.colour.lambda_evaluator import RubyLambdas
from runner.colour.rules import Colour, ColourRule, Judgement, RubyLambda


class Rules:
    """Applies rules to what runs wrote. Any thread may use it."""

    def __init__(self, ruby_lambdas: RubyLambdas, image_rules: ImageRules) -> None:
        self._ruby_lambdas = ruby_lambdas
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
            return self._ruby_lambdas.judge(rule, stdout, stderr, status)
        return Judgement(rule.colour(stdout, stderr))
