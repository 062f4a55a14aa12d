"""Announces the vision encoders; nothing here imports torch."""

from mmadapt.hookspecs import Register, hookimpl


@hookimpl
def register_encoders(register: Register) -> None:
    """Announces `vit`, `vit_frames` and `video`."""
    register("vit", "mmadapt_vision.vit:VitEncoder", "images through any ViT, CLIP, SigLIP or DINO")
    register(
        "vit_frames", "mmadapt_vision.frames:VitFramesEncoder", "frames of a clip through the same"
    )
    register(
        "video", "mmadapt_vision.video:VideoEncoder", "clips through TimeSformer, VideoMAE, ViViT"
    )
