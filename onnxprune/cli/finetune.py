"""`onnxprune finetune MODEL --data PATH`: train the weights of a model in place."""

from onnxprune.cli.options import Talk, job
from onnxprune.pipeline.config.jobs import FinetuneConfig


@job(
    FinetuneConfig,
    examples=(
        "onnxprune finetune small.onnx --data train/ --teacher original.onnx --epochs 5",
        "onnxprune finetune small.onnx --data unlabelled/ --teacher original.onnx",
        "torchrun --nproc-per-node 2 -m onnxprune finetune small.onnx --data train/",
    ),
)
def finetune(config: FinetuneConfig, talk: Talk) -> None:
    """Train the weights of an ONNX model, by labels, by the answers of a teacher, or by both.

    The graph stays as it is: names, nodes and what is not trained are untouched. The weights of the best epoch on the
    validation data are written, after onnxruntime has been seen to compute the same with them as torch.

    Several processes: start it with torch's launcher, torchrun. Exit codes are those of `prune`.
    """
    from onnxprune.cli.listening import open_listener
    from onnxprune.cli.outcome import told
    from onnxprune.cli.piped import refuse_pipe
    from onnxprune.cli.printing import print_blocks, print_json
    from onnxprune.graph.storage.paths import check_folder
    from onnxprune.pipeline.finetune import finetune as work
    from onnxprune.report.finetuning import finetuned_blocks

    refuse_pipe(config.output, "finetune")
    if config.tensorboard is not None:
        check_folder("the logs' folder", config.tensorboard, config.inputs)
    with open_listener(talk, config.tensorboard) as listener:
        try:
            found = work(config, listener)
        except KeyboardInterrupt as stopped:
            if not config.has_checkpoint:
                raise
            kept = f"the state after the last epoch is in {config.checkpoint_written}, go on with --resume"
            raise type(stopped)(f"interrupted; {kept}") from None
    if found.output is None:
        return  # not the first of several processes
    with told([found.output]):
        if talk.as_json:
            print_json(found.to_json())
        else:
            print_blocks(finetuned_blocks(found, verbose=talk.verbose))
