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
    from onnxprune.api import load_plan
    from onnxprune.cli.console import open_voice
    from onnxprune.cli.outcome import deliver, report_of
    from onnxprune.pipeline.prune import replay

    plan = load_plan(config.plan)
    settings = config.settings(plan)
    flags = talk.flags(report=config.report, threads=config.threads)
    with open_voice(flags) as voice:
        result = replay(settings, plan, voice.meter, voice.tell, report_of(flags))
    deliver(result, flags)
