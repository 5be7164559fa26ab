"""What a file of weights of another tool is, recognized by the names and shapes of its tensors."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

# The end of a tensor's name in LoRA files of kohya's tools, peft and diffusers
LORA = re.compile(
    r"(\.alpha|\.lora_(up|down)\.weight|\.lora_[AB](\.default)?\.(weight|bias)"
    r"|[._]lora\.(up|down)\.weight|\.diff(_b)?)$"
)
TEXT = re.compile(r"^(lora_te\d?_|text_encoders?(_\d)?\.|te\d?[._])")
# Other forms of adapters; a name in it is enough
ADAPTERS = {
    "LoHa (of LyCORIS)": r"\.hada_[wt]\d",
    "LoKr (of LyCORIS)": r"\.lokr_[wt]\d",
    "DoRA": r"\.dora_scale|\.lora_magnitude_vector",
    "BOFT": r"\.boft_",
    "OFT": r"\.oft_",
    "(IA)3": r"\.ia3_|\.on_input$",
    "LoCon with Tucker decomposition": r"\.lora_mid\.",
    "GLoRA": r"\.(a1|b1)\.weight$",
}
# Files without LoRA, in the order in which they are tried
OTHERS = {
    "an IP-Adapter": r"^(image_proj|ip_adapter)\.",
    "a ControlNet": r"controlnet_|input_hint_block|zero_convs|^control_model\.|^lora_controlnet",
    "a complete checkpoint": r"^(model\.diffusion_model|cond_stage_model|conditioner)\.",
    "a motion module": r"(motion_modules?|temporal_transformer)\.",
    "textual inversion": r"^(emb_params|string_to_\w+|clip_[lg]|t5xxl|<[^.]+>|[^.]+)$",
    "a VAE": r"^(first_stage_model|vae)\.|^(encoder|decoder)\.(conv|down|up|mid)|^quant_conv",
    "the weights of a text encoder": r"^(text_model|shared|encoder\.block|encoder\.layer)",
    "the weights of a whole UNet": r"(^|\.)(down_blocks|up_blocks|mid_block|input_blocks)\.",
    "the weights of a whole transformer": r"(^|\.)\w*(blocks|layers)\.\d+\.",
}
# Models that LoRA files are for, by names of layers, in the order in which they are tried
MODELS = {
    "Flux": r"single_transformer_blocks",
    "Flux or HunyuanVideo": r"double_blocks|single_blocks",
    "Qwen-Image": r"img_mlp|img_mod",
    "Stable Diffusion 3": r"joint_blocks|add_[qkv]_proj",
    "Wan": r"blocks[._]\d+[._](self_attn|cross_attn|ffn|attn[12])[._]",
    "Stable Diffusion XL": r"^lora_te2_|^text_encoder_2\.",
    "Z-Image or Lumina": r"layers[._]\d+[._]attention",
    "a transformer": r"transformer_blocks[._]\d+[._]",
}
UNET = re.compile(r"(down|up|mid|input|output|middle)_blocks?[._]")
# Width of the text states that the UNets' cross-attention reads
WIDTHS = {768: "Stable Diffusion 1", 1024: "Stable Diffusion 2", 2048: "Stable Diffusion XL"}


def kind_of(tensors: Mapping[str, Tensor]) -> tuple[str, bool]:
    """What a file is, such as "a LoRA for Flux", and whether it is a LoRA."""
    for name, pattern in ADAPTERS.items():
        if any(re.search(pattern, key) for key in tensors):
            return name, False
    layers = [key for key in tensors if LORA.search(key)]
    if not layers:
        for name, pattern in OTHERS.items():
            if any(re.search(pattern, key) for key in tensors):
                return name, False
        return "no LoRA", False
    if all(TEXT.match(key) for key in layers):
        return "a LoRA for a text encoder alone", True
    model = _model({key: tensors[key] for key in layers})
    return ("a LoRA for an unknown model" if model is None else f"a LoRA for {model}"), True


def _model(layers: Mapping[str, Tensor]) -> str | None:
    unet = any(UNET.search(key) for key in layers)
    if unet:
        for key, tensor in layers.items():
            reads_text = re.search(r"attn2[._](processor[._])?to_[kv]", key)
            if reads_text and re.search(r"lora_down|lora_A|lora\.down", key) and tensor.ndim > 1:
                width = tensor.shape[1]
                return WIDTHS.get(width, f"a UNet with text states of width {width}")
    for name, pattern in MODELS.items():
        if not (unet and name in ("Wan", "a transformer")) and any(
            re.search(pattern, key) for key in layers
        ):
            return name
    return "a UNet" if unet else None
