"""`mmadapt train` under accelerate's FSDP2 on CPUs, run by torchrun.

accelerate gives its FSDP type to GPUs and other accelerators only, and trains on CPUs by DDP though
FSDP was asked for. That one choice is lifted here; all the rest is what a GPU would meet.
"""

import sys
from pathlib import Path
from typing import Any

from accelerate import accelerator
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType
from torch.distributed.fsdp import FSDPModule

sys.path.insert(0, str(Path(__file__).parents[2]))


def lift() -> None:
    """Has accelerate shard on CPUs too where it is given an FSDP plugin, and tell what it did."""
    begin, prepare = AcceleratorState.__init__, accelerator.fsdp2_prepare_model

    def init(self: Any, *args: Any, fsdp_plugin: Any = None, **options: Any) -> None:
        begin(self, *args, fsdp_plugin=fsdp_plugin, **options)
        if fsdp_plugin is not None and self.distributed_type == DistributedType.MULTI_CPU:
            self.fsdp_plugin, self.distributed_type = fsdp_plugin, DistributedType.FSDP
            PartialState._shared_state["distributed_type"] = DistributedType.FSDP

    def telling(*args: Any) -> Any:
        model = prepare(*args)
        units = [name for name, part in model.named_modules() if isinstance(part, FSDPModule)]
        print(f"units: {units}", file=sys.stderr)
        return model

    AcceleratorState.__init__ = init  # type: ignore[method-assign]
    accelerator.fsdp2_prepare_model = telling


if __name__ == "__main__":
    lift()
    from mmadapt.cli import main

    main()
