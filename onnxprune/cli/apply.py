"""`onnxprune apply MODEL PLAN`: replay a plan."""

from onnxprune.cli.options import Talk, job
from onnxprune.pipeline.config.jobs import ApplyConfig


@job(
    ApplyConfig,
    examples=(
        "onnxprune model.onnx --data calib/ --macs 50% --dry-run",
        "onnxprune apply model.onnx model.pruned.plan.json -o small.onnx",
    ),
)
def apply(config: ApplyConfig, talk: Talk) -> None:
    """Cut MODEL by PLAN, which has to be made for this very model, and check the result as ever.

    The same plan with the same data gives the same bytes as the run that it comes from. Without data the model is cut
    and checked, but the plan's recovery is left out. Accuracy is measured on the part of the data that the plan's
    scores did not see, with the plan's preprocessing unless options say otherwise.
    """
    from onnxprune.cli.listening import open_listener
    from onnxprune.cli.outcome import report_of
    from onnxprune.cli.piped import hand_over, piped
    from onnxprune.pipeline.apply import apply_plan, open_plan

    plan = open_plan(config.plan)
    with piped(config, talk) as (told, pipe):
        with open_listener(talk) as listener:
            result = apply_plan(told.replaying(plan), plan, listener, report_of(config))
        hand_over(result, talk, config, pipe)
