"""The one place that hooks fusions into an unmodified language model."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from mmadapt.anatomy import find_anatomy, find_layers, find_part
from mmadapt.contracts import Encoder, Fusion, Rewrite
from mmadapt.errors import AttachError
from mmadapt.late import TextAlone, late_fusion
from mmadapt.types import State


class Attachment:
    """Fusions hooked into an LM; `bind` gives one forward its state, `detach` takes everything out.

    The LM's class, state-dict keys, cache, masks and positions stay its own. One forward may be
    live at a
    time: its state is kept until the next `bind`, because the backward pass recomputes from it
    under gradient checkpointing. Called without `bind`, the LM is the plain LM.

    Args:
        lm: a causal LM of transformers.
        fusions: applied at every site in this order.
        encoders: those that a fusion may rewrite.

    Raises:
        AttachError: the LM's family is unknown, or a fusion names a site or layer that it does not
            have.
    """

    def __init__(
        self,
        lm: nn.Module,
        fusions: Sequence[Fusion],
        encoders: Mapping[str, Encoder] | None = None,
    ) -> None:
        self.lm = lm
        self.state: State | None = None
        self._set_aside: State | None = None
        self._armed = False
        self._handles: list[RemovableHandle] = []
        self._rewrites: list[Rewrite] = []
        self.on_detach: list[Callable[[], None]] = []  # undo what others changed in the LM
        self._accepts = set(inspect.signature(lm.forward).parameters)
        self._anatomy = find_anatomy(_model_type(lm))
        try:
            self._hook_model()
            self._hook_layers(fusions)
            for fusion in fusions:
                rewrite = fusion.rewrite(encoders or {}, lm)
                if rewrite is not None:
                    self._rewrites.append(rewrite)
        except BaseException:
            self.detach()
            raise

    @property
    def rewritten(self) -> frozenset[str]:
        """Names of the encoders whose forward carries gradients because a fusion edited them."""
        return frozenset().union(*(rewrite.encoders for rewrite in self._rewrites))

    @contextmanager
    def bind(self, state: State) -> Iterator[State]:
        """Makes the LM calls inside the block read `state`."""
        self.state, self._armed = state, True
        try:
            yield state
        finally:
            self._armed = False
            if not torch.is_grad_enabled():
                self.state = None

    def detach(self) -> None:
        """Removes every hook and edit; the LM's outputs are bit-equal to the base again."""
        for handle in self._handles:
            handle.remove()
        for rewrite in reversed(self._rewrites):
            rewrite.undo()
        for undo in reversed(self.on_detach):
            undo()
        self.on_detach.clear()
        self._handles.clear()
        self._rewrites.clear()
        self.state = self._set_aside = None

    def _hook_model(self) -> None:
        lm: Any = self.lm
        self._handles += [
            lm.register_forward_pre_hook(self._before_lm, with_kwargs=True),
            lm.register_forward_hook(self._after_lm),
            lm.get_input_embeddings().register_forward_hook(self._after_embedding),
            lm.get_output_embeddings().register_forward_pre_hook(self._before_logits),
        ]
        if self._anatomy.position_embedding is not None:
            positions = find_part(lm, self._anatomy.position_embedding)
            self._handles.append(positions.register_forward_hook(self._after_positions))

    def _hook_layers(self, fusions: Sequence[Fusion]) -> None:
        anatomy = self._anatomy
        layers = find_layers(self.lm, anatomy)
        late = late_fusion(fusions, len(layers))
        for i in range(0 if late is None else late.enters_at + 1):
            self._hook_late_tokens(layers[i], i, cast(Fusion, late))
        acting: dict[tuple[str, int], list[Fusion]] = {}
        for fusion in fusions:
            for i in fusion.layers(len(layers)):
                if not 0 <= i < len(layers):
                    raise AttachError(
                        f"fusion '{fusion.name}' acts on layer {i}, but the LM has {len(layers)} "
                        f"(0 to {len(layers) - 1})"
                    )
                for site in fusion.sites():
                    acting.setdefault((site, i), []).append(fusion)
        # Inputs before outputs: an output's `x` is what the module really read.
        for (site, i), chain in sorted(acting.items(), key=lambda item: item[0][::-1]):
            layer = layers[i]
            if site == "layer_input":
                self._hook_layer_input(layer, i, chain)
            elif site.startswith("mlp"):
                first = find_part(layer, anatomy.mlp_input)
                self._hook_site(site, first, find_part(layer, anatomy.mlp_output), i, chain)
            else:
                first = find_part(layer, anatomy.attention)
                last = find_part(layer, anatomy.attention_output or anatomy.attention)
                self._hook_site(site, first, last, i, chain)

    def _hook_late_tokens(self, layer: nn.Module, i: int, fusion: Fusion) -> None:
        names = list(inspect.signature(layer.forward).parameters)

        def hook(_: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict] | None:
            if self.state is None or (i > 0 and self.state.text_alone is None):
                return None
            given = {**{names[k]: value for k, value in enumerate(args[: len(names)])}, **kwargs}
            if i == 0:
                self.state.text_alone = TextAlone.of(fusion.name, given, self.state)
            alone = self.state.text_alone
            if alone is None:
                return None
            if i < fusion.enters_at:
                changed = alone.without(given)
            else:
                changed = {"hidden_states": alone.within(given["hidden_states"])}
            for name, value in changed.items():
                at = names.index(name) if name in names else len(args)
                args, kwargs = _put(args, kwargs, name, at, value)
            return args, kwargs

        self._handles.append(layer.register_forward_pre_hook(hook, with_kwargs=True))

    def _hook_layer_input(self, layer: nn.Module, i: int, chain: Sequence[Fusion]) -> None:
        hidden_at, mask_at = _argument(layer, "hidden_states"), _argument(layer, "attention_mask")

        def hook(_: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict] | None:
            if self.state is None:
                return None
            hidden = _get(args, kwargs, "hidden_states", hidden_at)
            alone = self.state.text_alone
            if alone is not None and hidden.shape[1] < alone.length:
                return None  # its tokens are not there yet
            mask = _get(args, kwargs, "attention_mask", mask_at)
            like, old_mask, home = hidden, mask, self.state.device
            hidden = hidden.to(home)
            mask = given = None if mask is None else mask.to(home)
            for fusion in chain:
                hidden, mask = fusion.layer_input(i, hidden, mask, self.state)
            args, kwargs = _put(args, kwargs, "hidden_states", hidden_at, hidden.to(like))
            if mask is not given:
                mask = mask if old_mask is None or mask is None else mask.to(old_mask.device)
                args, kwargs = _put(args, kwargs, "attention_mask", mask_at, mask)
            return args, kwargs

        self._handles.append(layer.register_forward_pre_hook(hook, with_kwargs=True))

    def _hook_site(
        self, site: str, first: nn.Module, last: nn.Module, i: int, chain: Sequence[Fusion]
    ) -> None:
        x_at = _argument(first, "hidden_states") if site.startswith("attention") else 0
        x_name = "hidden_states" if site.startswith("attention") else "input"
        methods: list[Callable[..., Tensor]] = [getattr(fusion, site) for fusion in chain]

        def change_input(_: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict] | None:
            if self.state is None:
                return None
            x = _get(args, kwargs, x_name, x_at)
            like, x = x, _unflatten(x, self.state)
            for method in methods:
                x = method(i, x, self.state)
            return _put(args, kwargs, x_name, x_at, _as(x, like))

        def remember_input(_: nn.Module, args: tuple, kwargs: dict) -> None:
            if self.state is not None:
                self.state.stash[site, i] = _get(args, kwargs, x_name, x_at)

        def change_output(_: nn.Module, args: tuple, kwargs: dict, output: Any) -> Any:
            if self.state is None:
                return None
            remembered = first is not last
            x = self.state.stash[site, i] if remembered else _get(args, kwargs, x_name, x_at)
            y = output[0] if isinstance(output, tuple) else output
            like, x, y = y, _unflatten(x, self.state), _unflatten(y, self.state)
            for method in methods:
                y = method(i, x, y, self.state)
            y = _as(y, like)
            if self._anatomy.adds_in_place:
                y = y.clone()  # the fusion's backward pass may read its result again
            return (y, *output[1:]) if isinstance(output, tuple) else y

        if site.endswith("input"):
            self._handles.append(first.register_forward_pre_hook(change_input, with_kwargs=True))
            return
        if first is not last:
            self._handles.append(first.register_forward_pre_hook(remember_input, with_kwargs=True))
        self._handles.append(last.register_forward_hook(change_output, with_kwargs=True))

    def _before_lm(self, _: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict] | None:
        if not self._armed:
            self._set_aside, self.state = self.state, None
        if self.state is None:
            return None
        ids = kwargs.get("input_ids", args[0] if args else None)
        ids = kwargs["inputs_embeds"] if ids is None else ids
        cache = kwargs.get("past_key_values")
        self.state.cache = cache
        self.state.past_len = 0 if cache is None else int(cache.get_seq_length())
        kwargs = dict(kwargs)
        if "position_ids" in self._accepts:
            kwargs["position_ids"] = self.state.position_ids(
                ids.shape[1], self._anatomy.pad_position
            )
            if kwargs.get("attention_mask") is None:
                # Without a mask, transformers takes uneven position numbers for packed sequences.
                kwargs["attention_mask"] = ids.new_ones(
                    ids.shape[0], self.state.past_len + ids.shape[1]
                )
        return args, kwargs

    def _after_lm(self, _: nn.Module, args: tuple, output: Any) -> None:
        if not self._armed:  # the backward pass of an earlier forward may still recompute
            self.state, self._set_aside = self._set_aside, None

    def _after_embedding(self, _: nn.Module, args: tuple, output: Tensor) -> Tensor | None:
        if not self._armed or self.state is None or self.state.text.embeds is None:
            return None
        length, text = output.shape[1], self.state.text
        if self.state.past_len >= text.input_ids.shape[1]:
            return None
        spans = [self.state.span(name, length) for name in text.spans]
        own = torch.stack(spans).amax(dim=0) > 0
        assert text.embeds is not None
        embeds = text.embeds[:, self.state.past_len : self.state.past_len + length]
        if embeds.shape[1] < length:
            embeds = nn.functional.pad(embeds, (0, 0, 0, length - embeds.shape[1]))
        return torch.where(own[..., None], embeds.to(output), output)

    def _after_positions(self, _: nn.Module, args: tuple, output: Tensor) -> Tensor | None:
        # A learned table has a row for every number, so a token without one takes no row.
        if not self._armed or self.state is None or self.state.text.positionless is None:
            return None
        none = self.state.columns(self.state.text.positionless, output.shape[1])
        return output.masked_fill(none[..., None], 0)

    def _before_logits(self, _: nn.Module, args: tuple) -> tuple | None:
        if not self._armed or self.state is None or self.state.labelled is None:
            return None
        rows = args[0].flatten(0, 1).index_select(0, self.state.labelled.to(args[0].device))
        return (rows[None], *args[1:])


def _model_type(lm: Any) -> str:
    return str(lm.config.get_text_config().model_type)


def _argument(module: nn.Module, name: str) -> int:
    names = list(inspect.signature(module.forward).parameters)
    return names.index(name) if name in names else len(names)


def _get(args: tuple, kwargs: dict, name: str, at: int) -> Any:
    return args[at] if at < len(args) else kwargs.get(name)


def _put(args: tuple, kwargs: dict, name: str, at: int, value: Any) -> tuple[tuple, dict]:
    if at < len(args):
        return (*args[:at], value, *args[at + 1 :]), kwargs
    return args, {**kwargs, name: value}


def _unflatten(x: Tensor, state: State) -> Tensor:
    x = x.to(state.device)  # an LM may be spread over several
    return x.view(state.batch_size, -1, x.shape[-1]) if x.ndim == 2 else x  # OPT flattens (b, s)


def _as(x: Tensor, like: Tensor) -> Tensor:
    """`x` in the shape, precision and place that the LM goes on with."""
    return x.reshape(like.shape).to(like)
