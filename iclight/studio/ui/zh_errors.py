"""The engine's sentences in Chinese, by their templates in English: errors, and what a page says of its model.

Those that a visitor of a page can meet. What concerns a model's files stays English, for whoever started the page.
`tests/studio/test_studio_words.py` keeps the list complete, and free of what nobody says.
"""

from __future__ import annotations

SENTENCES: dict[str, str] = {
    # Words of ours that stand in sentences; more are in `zh`.
    "The {input}": "{input}",
    "The picture": "照片",
    "The background": "背景",
    "The light map": "光照图",
    "The environment map": "环境贴图",
    "The mask": "蒙版",
    "The picture behind": "主体背后的图片",
    "The normal map": "法线图",
    "a light map": "光照图",
    "a background": "背景图",
    "a background picture": "背景图",
    "an environment map": "环境贴图",
    "base model": "基础模型",
    "text encoder": "文本编码器",
    "workflow": "流程",
    "offset": "偏移权重",
    "the {workflow} workflow": "{workflow} 流程",
    "no name kept": "未记下名字",
    # Of settings and their ranges.
    "a colour, #RRGGBB": "#RRGGBB 形式的颜色",
    "text of at most {most:,.0f} characters": "最多 {most:,.0f} 个字符的文字",
    "a number from {least:g} to {most:g}": "{least:g} 到 {most:g} 的数",
    "a whole number from {least:g} to {most:,.0f}": "{least:g} 到 {most:,.0f} 的整数",
    "{range} in steps of {step:g}": "{range}（以 {step:g} 为步长）",
    "{range}, or left out": "{range}，也可不填",
    "{count:,} characters long": "{count:,} 个字符",
    "{name} is {given}, but it takes {range}.": "{name}是 {given}，但应为：{range}。",
    "{name} is {value}, but it takes one of {choices}.": "{name}是 {value}，但应为其中之一：{choices}。",
    "{text} is no colour; write #RRGGBB.": "{text} 不是颜色；请写成 #RRGGBB。",
    "clip_skip is {given}, but this model's text encoder has {layers} layers.": (
        "“CLIP 跳过层”（clip_skip）是 {given}，但这个模型的文本编码器只有 {layers} 层。"
    ),
    "The prompt holds {tag}, but LoRA files are loaded with the model: start with --lora {file}, and take it "
    "out of the prompt. (With emphasis 'never' it is read as words.)": (
        "提示词里有 {tag}，但 LoRA 随模型一起加载：请启动页面的人加上 --lora {file}，并从提示词中去掉它。"
        "（“强调语法”选“从不”时按普通文字处理。）"
    ),
    "There is no setting named {unknown}; there are {names}.": "没有名为 {unknown} 的设置；可用的有：{names}。",
    "workflow is {workflow}, but it takes one of {workflows}.": (
        "流程（workflow）是 {workflow}，但应为其中之一：{workflows}。"
    ),
    "light is {light}, but the {workflow} workflow takes one of {lights}.{owners}": (
        "光源（light）是 {light}，但 {workflow} 流程的光源应为其中之一：{lights}。{owners}"
    ),
    " ({light} belongs to {owners: and }.)": "（{light} 属于 {owners: 和 }。）",
    "mood is {mood}, but it takes one of {moods}.": "氛围（mood）是 {mood}，但应为其中之一：{moods}。",
    "matting is {matting}, but it takes one of {choices}.": "抠图（matting）是 {matting}，但应为其中之一：{choices}。",
    "The strength of a finish is {strength:g}, but it takes {range}.": "成片强度是 {strength:g}，但应为：{range}。",
    "A light's colour is {colour}, but it takes three numbers from 0 to 1.": (
        "光的颜色是 {colour}，但应为三个 0 到 1 的数。"
    ),
    "There is no light {unknown} here; there are {lights}.": "这里没有光 {unknown}；可用的有：{lights}。",
    "The dial takes an angle in degrees, an elevation from 0 to 1 and an ambient from 0 to 4.": (
        "转盘需要角度（度）、0 到 1 的仰角和 0 到 4 的环境光。"
    ),
    "Name a light to mix: {lights}.": "请指定要混合的光：{lights}。",
    # Of what a request lacks.
    "Give a picture first: drop one into the box called Picture.": "请先放入一张照片：拖到“照片”框里。",
    "Give {what}, or choose another light: {lights: or }.": "请放入{what}，或选择别的光源：{lights:或}。",
    "Light {light} takes its light from {name}, and none was given: give {name}, or choose {lights: or }.": (
        "光源 {light} 的光来自{name}：请放入{name}，或选择别的光源：{lights:或}。"
    ),
    "Give the picture to put behind the subject, or choose another background under Finish.": (
        "请放入主体背后的图片，或在“成片”里选择别的背景。"
    ),
    "Give the picture to put behind the subject, or choose another background.": (
        "请放入主体背后的图片，或选择别的背景。"
    ),
    "finish_background is 'own', and no picture to put behind the subject was given: give one, or choose new, "
    "original or transparent.": (
        "“主体背后”（finish_background）是 'own'，却没有要放在主体背后的图片：请放入，或选择 new、original 或"
        " transparent。"
    ),
    "There is nothing to mix yet: press 'Light it from every side' first.": (
        "还没有可混合的光：请先按“从各个方向打光”。"
    ),
    "There are no normals yet: press 'Estimate normals' first.": "还没有法线：请先按“估计法线”。",
    "Press 'Show the matte' first, then paint on it.": "请先按“显示蒙版”，再在上面涂改。",
    "Paint where the light comes from first.": "请先画出光从哪里来。",
    "Click a picture first.": "请先点一张画面。",
    "That picture is gone; open the History tab again.": "那张画面已不在；请重新打开“历史”。",
    "Give a PNG that was made here.": "请放入在这里生成的 PNG。",
    "The picture is not valid base64.": "图片不是有效的 base64 编码。",
    "A file of this answer is not among the page's own, or no longer: make it again.": (
        "回应中的文件不属于本页面，或已不在：请重新生成。"
    ),
    "A file of this request was not uploaded here: upload it first, then name it by its path.": (
        "请求里的文件不是在这里上传的：请先上传，再给出它的路径。"
    ),
    "This request could not be answered ({kind}).": "无法处理这个请求（{kind}）。",
    "There is no folder to keep pictures in ({reason}). Point GRADIO_TEMP_DIR at one.": (
        "没有可存放图片的文件夹（{reason}）；请启动页面的人用 GRADIO_TEMP_DIR 指定一个。"
    ),
    "Cancelled.": "已取消。",
    # Of pictures, mattes and maps of light.
    "{what} is {format}, a format that is not read here; save it as PNG, JPEG or TIFF.": (
        "{what}是 {format} 格式，这里无法读取；请另存为 PNG、JPEG 或 TIFF。"
    ),
    "{what} is a camera's raw file ({format}), for which {package} is missing: install it ({command}), or develop "
    "the picture, and give the TIFF or JPEG.": (
        "{what}是相机的 RAW 文件（{format}），但缺少 {package}：请安装（{command}），或先冲洗，再提供 TIFF 或 JPEG。"
    ),
    "{what} is a HEIC file, for which {package} is missing: install it ({command}), or save the picture as JPEG.": (
        "{what}是 HEIC 文件，但缺少 {package}：请安装（{command}），或将图片另存为 JPEG。"
    ),
    "{what} holds several layers ({layers}) and none called R, G, B; export one of them as RGB.": (
        "{what}含有多个图层（{layers}），却没有名为 R、G、B 的通道；请将其中一层导出为 RGB。"
    ),
    "{what} is not an image this can read; give a PNG, JPEG, WebP or another common format.": (
        "{what}不是能读取的图片；请用 PNG、JPEG、WebP 等常见格式。"
    ),
    "{what} is broken or cut short and cannot be decoded ({reason}). Export it again.": (
        "{what}已损坏或不完整，无法解码（{reason}）；请重新导出。"
    ),
    "{what} is broken or cut short and cannot be decoded as {kind}. Export it again.": (
        "{what}已损坏或不完整，无法按 {kind} 解码；请重新导出。"
    ),
    "{what} is broken: its EXIF describes itself over and over. Export it again.": (
        "{what}已损坏：EXIF 反复描述自己；请重新导出。"
    ),
    "{what} has more than {most} megapixels; scale it down first.": "{what}超过 {most} 百万像素；请先缩小。",
    "{what} is {size} pixels; a side may have {most}. Scale it down first.": (
        "{what}为 {size} 像素，边长最多 {most}；请先缩小。"
    ),
    "{what} is empty ({width}x{height} pixels).": "{what}是空的（{width}x{height} 像素）。",
    "{what} is fully transparent; there is nothing in it to light.": "{what}完全透明，没有可打光的内容。",
    "{what} is black everywhere; there is no light in it.": "{what}全黑，里面没有光。",
    "{what} holds no colours (R, G, B or Y); export it as RGB.": (
        "{what}里没有颜色通道（R、G、B 或 Y）；请导出为 RGB。"
    ),
    "{what} holds no colours (R, G, B or Y) but deep data; export it as flat RGB.": (
        "{what}里没有颜色通道（R、G、B 或 Y），只有深度数据；请导出为普通的 RGB。"
    ),
    "{what} takes too much memory; export one picture as RGB, in half floats and scan lines.": (
        "解码{what}占用内存过多；请以半精度浮点、按行存储，单独导出一张 RGB 图片。"
    ),
    "{what} is a file of {size:.0f} MB; it may have {most:.0f} MB.": (
        "{what}的文件有 {size:.0f} MB，最多 {most:.0f} MB。"
    ),
    "{what} {path} is a folder, not a picture.": "{what} {path} 是文件夹，不是图片。",
    "{what} {path} is not a regular file.": "{what} {path} 不是普通文件。",
    "{what} {name} does not exist.": "{what} {name} 不存在。",
    "{what} {name} cannot be read ({reason}).": "{what} {name} 无法读取（{reason}）。",
    "{path} cannot be written ({reason}).": "{path} 无法写入（{reason}）。",
    "The picture is empty (no pixels).": "照片是空的（没有像素）。",
    "The mask is {size}, the picture {wanted}; give one of the same size.": (
        "蒙版为 {size}，照片为 {wanted}；两者尺寸须相同。"
    ),
    "The mask is empty (zero everywhere); there would be nothing to light.": "蒙版全为零，没有可打光的内容。",
    "The matte is {size}, the picture {wanted}.": "蒙版为 {size}，照片为 {wanted}。",
    "The matte is {size}, the picture {wanted}; give a matte of the picture's size.": (
        "蒙版为 {size}，照片为 {wanted}；两者尺寸须相同。"
    ),
    "The matte is empty: there is no subject to light. Paint one, or use matting none.": (
        "蒙版是空的，没有可打光的主体。请画出主体，或把抠图设为“不抠图”。"
    ),
    "Nothing of the subject is left: paint green where it is.": "主体已全部擦去：请用绿色涂出主体。",
    "The background is {size}, the picture {wanted}; give one of the picture's size.": (
        "背景为 {size}，照片为 {wanted}；两者尺寸须相同。"
    ),
    "The painting is too large.": "涂画的图片太大。",
    "The painting cannot be read; paint it again.": "涂画的图片无法读取；请重新涂画。",
    # Of recipes.
    "{name} carries no recipe: it was not made by iclight, or a program on the way removed it.": (
        "{name} 里没有配方：它不是 iclight 生成的，或途中被别的程序去掉了。"
    ),
    "{name} is not a picture that can be read.": "{name} 不是能读取的图片。",
    "The recipe is broken ({kind}: {reason}).": "配方已损坏（{kind}：{reason}）。",
    "The recipe is broken: it has more than {most:.0f} MB.": "配方已损坏：它超过 {most:.0f} MB。",
    "The recipe asks for something that does not exist: {reason}": "配方要求了不存在的东西：{reason}",
    "The recipe was written by a newer iclight; update to read it.": "配方由更新版本的 iclight 写成；请先升级。",
    "The recipe was made with these LoRA files: {files}. Give the same with --lora.": (
        "这张画面用了这些 LoRA：{files}；请启动页面的人用 --lora 给出同样的文件。"
    ),
    "The recipe's {what} is not the loaded one: it was made by {name} ({digest}), loaded is {loaded} "
    "({loaded_digest}). Give the right files with --model and --offset.": (
        "这张画面的{what}与已加载的不同：它由 {name}（{digest}）生成，现在加载的是 {loaded}（{loaded_digest}"
        "）；请启动页面的人用 --model 和 --offset 给出原来的文件。"
    ),
    "The recipe's matting network is not the one here ({digest}, here {own_digest}), so its matte would be "
    "another. Get the same weights, or give the matte with --mask.": (
        "配方的抠图网络（{digest}）与这里的（{own_digest}）不同，蒙版会不一样；请启动页面的人换上同样的权重，"
        "或给出自己的蒙版。"
    ),
    "The {what} this was made from ({name}) is not here; give it on the command line.": (
        "做这张画面用的{what}（{name}）不在这里；请在命令行上给出。"
    ),
    "{path} is not the {what} this was made from: its pixels differ. Give the right one.": (
        "{path} 不是当时用的{what}：像素不同；请给出原来的。"
    ),
    "This is not a relit picture; drop one that Relight made.": "这不是重新打光的画面；请放入“重新打光”生成的 PNG。",
    # Of the model and the device, on the page and while it works.
    "CPU, {threads} threads": "CPU，{threads} 线程",
    "Apple GPU (MPS)": "Apple GPU（MPS）",
    "{device} ({formats})": "{device}（{formats}）",
    "{device} ran out of memory. {advice}": "{device}：内存不足。{advice}",
    "Ask for fewer images, a smaller width and height, or a smaller highres scale; on a small GPU start with "
    "--offload.": ("请减少张数、宽高或高清倍数；显存小的 GPU 请在启动时加 --offload。"),
    "Use --matting grabcut, or a smaller picture.": "请把抠图设为 GrabCut，或换一张较小的照片。",
    "Start with --offload, or use --model mini.": "请启动页面的人加 --offload，或改用 --model mini。",
    "mini runs on this CPU; for sd15 use --model sd15 ({have}, and minutes rather than seconds per picture).": (
        "在 CPU 上运行 mini；要用 sd15 请加 --model sd15（{have}，且每张要几分钟而不是几秒）。"
    ),
    "it is on this disk": "已在本机",
    "{size} to download once": "首次下载 {size}",
    "mini runs: {why}.": "正在运行 mini：{why}。",
    "no env offset was ever published for sd15": "sd15 从未发布过 env 权重",
    "WARNING: the small model mini runs instead of sd15, and its pictures are simpler. {why}": (
        "注意：正在用小模型 mini 代替 sd15，画面较简单。{why}"
    ),
    "{model} cannot run the {workflow} workflow: {why}. {advice}": (
        "{model} 没有 {workflow} 流程的权重：{why}。{advice}"
    ),
    "{model} has no offset for the workflow {workflow}; it has {offsets}. Use another model, or give an offset "
    "that fits with --offset.": (
        "{model} 没有 {workflow} 流程的权重，只有 {offsets}；请启动页面的人换一个模型，或用 --offset 给出合适的权重。"
    ),
    "There is no env offset for this model: it brings none, and {why}. {advice}": (
        "这个模型没有 env 流程的权重：它自己不带，而 {why}。{advice}"
    ),
    "Use --model mini, or train an env offset (docs/training.md) and give it with --offset PATH.": (
        "请启动页面的人改用 --model mini，或自行训练 env 权重（docs/training.md），用 --offset 给出。"
    ),
    "The model returned a black picture: its numbers overflowed. Try --dtype float32.": (
        "模型给出了全黑的画面：数值溢出了；请启动页面的人改用 --dtype float32。"
    ),
    "The model's numbers overflowed (NaN or infinity), so there is no picture. Try --dtype float32, a lower CFG "
    "scale, or weights from another source.": (
        "模型的数值溢出（NaN 或无穷大），没有得到画面。请降低 CFG，或请启动页面的人改用 --dtype float32 或别处的权重。"
    ),
    "The VAE's numbers overflowed (NaN or infinity), so there is no picture. Try --dtype float32.": (
        "自编码器的数值溢出（NaN 或无穷大），没有得到画面；请启动页面的人改用 --dtype float32。"
    ),
    "The matting network's output is not finite; its weights are damaged. Fetch them again.": (
        "抠图网络的输出不是有限的数：权重已损坏；请启动页面的人重新下载。"
    ),
    # Why an automatic matte may be wrong.
    "Hardly anything of the picture was taken for the subject.": "照片里几乎没有东西被认作主体。",
    "Nearly the whole picture was taken for the subject.": "几乎整张照片都被认作主体。",
    "Where the subject ends is uncertain over a large part of it.": "主体的边界大片不确定。",
    "The subject runs along three sides of the picture, as backgrounds do.": "主体沿照片的三条边展开，像背景一样。",
    "Loading failed unexpectedly ({kind}: {reason}).": "加载时意外出错（{kind}：{reason}）。",
    "speed is {speed}, but it takes one of {choices}.": "speed 的值是 {speed}，但它只接受：{choices}。",
    "attention is {attention}, but it takes one of {choices}.": (
        "attention 的值是 {attention}，但它只接受：{choices}。"
    ),
    # Why a lever of `--speed` is not pulled.
    "{lever} is left out on {device}: {reason}.": "{device} 上不使用 {lever}：{reason}。",
    "parts that move between devices are compiled again": "在设备间搬动的部分要重新编译",
    "torch.compile needs Triton": "torch.compile 需要 Triton",
    "torch.compile needs a C++ compiler": "torch.compile 需要 C++ 编译器",
    "torch.compile is young there": "torch.compile 在那里还不成熟",
    "it is cuDNN's": "它属于 cuDNN",
    "only CUDA has that backend": "只有 CUDA 有这个后端",
    "--{name} belongs to the {workflow} workflow, but {asked} was asked for.": (
        "--{name} 属于 {workflow} 流程，而请求的是 {asked}。"
    ),
    "light is {light!r}, which does not look at --{name}: leave one of them out, or use --light {lights: or }.": (
        "light 为 {light!r}，不会用到 --{name}：请去掉其中一个，或使用 --light {lights: or }。"
    ),
}
