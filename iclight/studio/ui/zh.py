"""The page's Chinese, by the English that stands in the code. `tests/studio/test_studio_words.py` keeps it complete.

Names of models, licences and formats stay as they are, and so do prompts: the text encoder reads English only.
"""

from __future__ import annotations

FORM = {
    "Picture": "照片",
    "Background": "背景",
    "Backgrounds to pick from": "可选的背景",
    "The light; its middle is behind the subject": "光照；图的中央在主体背后",
    "Prompt": "提示词",
    "Moods of light": "光的氛围",
    "Window": "窗光",
    "Golden hour": "黄金时刻",
    "Noon": "正午",
    "Moonlight": "月光",
    "Neon": "霓虹",
    "Campfire": "篝火",
    "Studio": "影棚",
    "Rim": "轮廓光",
    "None": "无",
    "Left Light": "左侧光",
    "Right Light": "右侧光",
    "Top Light": "顶光",
    "Bottom Light": "底光",
    "Any Angle": "任意角度",
    "Front Light": "正面光",
    "Rim Light": "轮廓光",
    "Back Light": "逆光",
    "Ambient": "环境光",
    "Spot": "聚光",
    "Use Light Map": "使用光照图",
    "Use Background Image": "使用背景图",
    "Use Flipped Background Image": "使用翻转的背景图",
    "Use Environment Map": "使用环境贴图",
    "Relight": "重新打光",
    "Vary ×4": "四种变化",
    "Cancel": "取消",
    "Words to start from": "现成的提示词",
    "Subjects": "主体",
    "Lighting": "光线",
    "Examples": "示例",
    "Angle": "角度",
    "For any angle: degrees from the right, counter-clockwise (90 top, 180 left, 270 bottom).": (
        "用于任意角度：从右侧起逆时针的度数（90 上，180 左，270 下）。"
    ),
    "Falloff": "衰减",
    "Above 1 the light is narrower, below 1 wider.": "大于 1 光更窄，小于 1 更宽。",
    "Light's colour": "光的颜色",
    "Shadow's colour": "阴影的颜色",
    "Spot x": "聚光横坐标",
    "From the left.": "从左边算起。",
    "Spot y": "聚光纵坐标",
    "From the top.": "从上边算起。",
    "Spot size": "聚光大小",
    "Its radius.": "半径。",
    "Paint where light comes from": "在光来的地方涂抹",
    "Use this light": "使用这束光",
    "Matte: what is the subject": "蒙版：哪里是主体",
    "Matting": "抠图",
    "Who cuts the subject out. A picture's own transparency, or a mask, always wins.": (
        "由谁抠出主体。照片自带的透明度或蒙版总是优先。"
    ),
    "Automatic": "自动",
    "RMBG-1.4 (non-commercial licence)": "RMBG-1.4（非商业许可）",
    "ORMBG (Apache-2.0)": "ORMBG(Apache-2.0)",
    "U²-Net small (Apache-2.0)": "U²-Net 小型网络（Apache-2.0）",
    "GrabCut (no network)": "GrabCut（不用网络）",
    "Paint the matte": "涂抹修改抠图",
    "Light the whole picture": "给整张照片打光",
    "None: light the whole picture": "不抠图：给整张照片打光",
    "Own mask (white is subject)": "自己的蒙版（白色为主体）",
    "Matte": "蒙版",
    "Show the matte, to paint on it": "显示蒙版，以便涂改",
    "Green adds to the subject, red takes away": "绿色加入主体，红色去掉",
    "Use this matte": "使用这个蒙版",
    "Finish: keep the photo's pixels and background": "成片：保留照片的像素和背景",
    "Finish": "成片方式",
    "What the light is put on: the model's picture, that with your detail, or your file at its own size.": (
        "光落在什么上：模型的画面、带有照片细节的画面，或原尺寸的照片。"
    ),
    "Model's picture": "模型的画面",
    "Photo's detail": "照片的细节",
    "Original pixels": "原始像素",
    "Strength": "强度",
    "How much of the new light; 0 leaves the photo as it was.": "新光的多少；0 为原样。",
    "Behind the subject": "主体背后",
    "The relighting's background, the photo's own, a picture of yours, or nothing.": (
        "重新打光后的背景、照片原来的背景、自选图片，或没有背景。"
    ),
    "New": "新的",
    "Original": "原来的",
    "Own picture": "自选图片",
    "Transparent": "透明",
    "Own picture behind the subject": "放在主体背后的图片",
    "Light": "光源",
    "Light it by": "打光方式",
    "Words": "文字",
    "Environment": "环境",
    "Environment map": "环境贴图",
    "subject and light, e.g. cat, sunset over sea": "用英文写主体和光线，例如 cat, sunset over sea",
    "A mood adds words; the light stays where it was chosen.": "氛围只添加提示词；光源保持您的选择。",
    "Light from": "光的来向",
    "Any angle": "任意角度",
    "Front": "正面",
    "Back": "背面",
    "Flipped background": "翻转的背景",
    "Light map": "光照图",
    "Light map: bright where light comes from": "光照图：亮处为光的来向",
    "Paint the light on the photo": "在照片上画光",
    "Colours of the light": "光的颜色与衰减",
    "By a window": "窗边",
    "Forest": "森林",
    "Grey studio": "灰色影棚",
    "Neon street": "霓虹街道",
    "Night": "夜晚",
    "Sunset": "日落",
    "This tab keeps its form until it is closed, the server its pictures for a day at most.": (
        "表单保存在本标签页中，关闭即清除；图片在服务器上最多保存一天。"
    ),
    "Forget all of it": "全部清除",
}

ADVANCED = {
    "Advanced": "高级",
    "Seed": "种子",
    "Same seed, same picture; left out, a random one.": "种子相同，画面相同；不填则随机。",
    "random": "随机",
    "Random seed": "随机种子",
    "Images": "张数",
    "How many pictures to make at once; the finish of original pixels makes one of them all.": (
        "一次生成几张；用原始像素成片时合成一张。"
    ),
    "Width": "宽",
    "Height": "高",
    "First pass, pixels; left out, it follows the picture.": "第一遍的像素数；不填则按照片。",
    "follow the picture": "按照片",
    "Steps": "步数",
    "Denoising steps of each pass.": "每一遍的去噪步数。",
    "CFG scale": "CFG 强度",
    "How strongly the prompt is followed; 1 is twice as fast.": "遵循提示词的程度；为 1 时快一倍。",
    "Sampler": "采样器",
    "How noise becomes a picture. The first is the reference's; LCM and TCD are for models distilled for them.": (
        "噪声变成图片的方式。第一个与原版相同；LCM 和 TCD 供为其蒸馏的模型使用。"
    ),
    "DPM++ SDE Karras": "DPM++ SDE Karras",
    "DPM++ 2M Karras": "DPM++ 2M Karras",
    "UniPC": "UniPC",
    "Euler": "Euler",
    "Euler a": "Euler a",
    "LCM": "LCM",
    "TCD": "TCD",
    "Lowres denoise": "低清去噪",
    "First pass of fc with a light direction: 1 forgets the direction, less keeps more of it.": (
        "有光源方向时的第一遍：1 忘掉方向，越小保留越多。"
    ),
    "Highres scale": "高清倍数",
    "How much larger the second pass is.": "第二遍放大多少。",
    "Light strength": "光的强度",
    "How strongly the light shows: 1 as the model draws it, 2 twice as far from even light.": (
        "光有多明显：1 是模型画出的样子，2 离均匀的光两倍远。"
    ),
    "Backdrop blur": "背景模糊",
    "Of a background that lights, where the subject hides it: a share of the shorter side. 0 is the reference's; "
    "more keeps a busy background from shining through.": (
        "用作光源的背景在主体遮住之处的模糊程度（占短边的比例）。0 与原版相同；更大可防止杂乱的背景透出来。"
    ),
    "Highres denoise": "高清去噪",
    "How much the second pass may change.": "第二遍可以改动多少。",
    "Emphasis": "强调语法",
    "Whether brackets weigh words as in A1111: where the marks are plain, always, or never.": (
        "括号是否像 A1111 那样给词加权：标记明确时、总是、从不。"
    ),
    "Where marked": "标记明确时",
    "Always": "总是",
    "Never": "从不",
    "Clip skip": "CLIP 跳过层",
    "Which of the text encoder's layers is read, from the last; 1 is the reference's.": (
        "读取文本编码器倒数第几层；1 与原版相同。"
    ),
    "Added prompt": "附加提示词",
    "Appended to every prompt.": "加在每个提示词之后。",
    "Negative prompt": "反向提示词",
    "What to steer away from; has no effect at CFG 1.": "要避开的内容；CFG 为 1 时无效。",
}

TABS = {
    "Drop a picture, choose a mood, press Relight.": "放入照片，选一种氛围，按“重新打光”。",
    "Pictures": "画面",
    "Results": "结果",
    "Before and after": "前后对比",
    "Preprocessed foreground": "预处理后的前景",
    "Seed used": "所用种子",
    "Mix": "混光",
    "Light it from every side": "从各个方向打光",
    "Exposure, stops": "曝光（档）",
    "Left": "左",
    "Right": "右",
    "Top": "上",
    "Bottom": "下",
    "Colour": "颜色",
    "Mute": "静音",
    "Solo": "独奏",
    "Export: full-size mix, lights as TIFF and EXR": "导出：原尺寸混光，各光存为 TIFF 和 EXR",
    "Exported": "已导出",
    "Normals": "法线",
    "Estimate normals (4 relightings)": "估计法线（四次打光）",
    "Relief": "起伏",
    "The exponent of the height: 5 is the paper's, less is flatter, more is steeper.": (
        "高度的指数：5 为论文所用，越小越平，越大越陡。"
    ),
    "Normal map": "法线图",
    "Lit by the normals": "按法线打光",
    "Angle: 0 right, 90 top, 180 left, 270 bottom": "角度：0 右，90 上，180 左，270 下",
    "Height towards the camera, degrees": "朝向相机的高度（度）",
    "Green channel": "绿色通道",
    "OpenGL: green up (Blender, Unity)": "OpenGL：绿色朝上（Blender、Unity）",
    "DirectX: green down (Unreal)": "DirectX：绿色朝下（Unreal）",
    "Save as 16-bit PNG": "存为 16 位 PNG",
    "Normal map, 16 bits": "法线图，16 位",
    "How they were made: nine pictures": "如何算出：九张图",
    "Normals, gains and relightings": "法线、增益与打光",
    "History": "历史",
    "Restore these settings": "恢复这些设置",
    "Drop a PNG or TIFF made here: its settings come back": "放入在这里生成的 PNG 或 TIFF：恢复它的设置",
    "Divider between before and after": "前后对比的分隔线",
    "Divider between the two pictures": "两张图之间的分隔线",
    "Download": "下载",
    "Foreground": "前景",
    "Form": "表单",
    "Format": "格式",
    "Hold to see the photo (B)": "按住看原照片（B）",
    "Keep this seed": "保留这个种子",
    "PNG": "PNG",
    "JPEG": "JPEG",
    "TIFF 16": "16 位 TIFF",
    "TIFF has 16 bits a value: the photo's own depth, where it has more than 8 bits and the finish is native; else 8 "
    "bits, widened.": "TIFF 每个数值 16 位：照片超过 8 位且以原始尺寸完成时保留照片自己的位深，否则由 8 位扩展而来。",
    "Four relightings by the background model, from left, right, bottom and top, show which way each place "
    "of the subject faces. The picture can then be lit from anywhere at once, without the model.": (
        "用背景模型从左、右、下、上打四次光，就能看出主体各处的朝向。之后不用模型，就能立刻从任何方向打光。"
    ),
    "The picture is lit once from every side, by the form's words, size and seed; then the lights are mixed "
    "without waiting. A light map, background or panorama in the form is one more light.": (
        "先按表单的文字、尺寸和种子从各个方向各打一次光，然后即时混合。表单里的光照图、背景或全景图是另一盏灯。"
    ),
    "Your own light": "您自己的光",
    "What this browser tab has made. Click a picture to look at it; click another to compare the two.": (
        "本标签页的作品。点一张查看，再点另一张对比。"
    ),
}

# What the server says while it works.
SAID = {
    "Model **{name}** on {place}, licence {licence}.": "模型 **{name}**，运行于 {place}，许可 {licence}。",
    "The model could not be loaded.": "模型无法加载。",
    "about {seconds} s left": "约剩 {seconds} 秒",
    "In the queue: {ahead} before you": "排队中：前面还有 {ahead} 个",
    "Starting": "正在开始",
    "Preparing the picture": "正在准备照片",
    "**{seconds:.1f} s** · model {model} · {device} {dtype} · matting {matting} · {width}×{height}, seed {seed}": (
        "**{seconds:.1f} 秒** · 模型 {model} · {device} {dtype} · 抠图 {matting} · {width}×{height}，种子 {seed}"
    ),
    "seed {seed}": "种子 {seed}",
    "**{seconds:.1f} s** for {count} lights.": "**{seconds:.1f} 秒**，{count} 种光。",
    "Left, right, top and bottom together differ from the ambient picture by **{share:.0f} %** (0: light "
    "adds exactly).": ("左、右、上、下之和与环境光画面相差 **{share:.0f} %**（0：光严格相加）。"),
    "The settings are back.": "设置已恢复。",
    "A PNG does not hold what it was made from; give that again: {files}.": (
        "PNG 里没有原来的素材，请重新放入：{files}。"
    ),
    "picture": "照片",
    "background": "背景",
    "light map": "光照图",
    "environment map": "环境贴图",
    "mask": "蒙版",
    "picture to put behind the subject": "放在主体背后的图片",
    "foreground": "前景",
    "normals": "法线",
    "gain, left": "增益，左",
    "gain, right": "增益，右",
    "gain, bottom": "增益，下",
    "gain, top": "增益，上",
    "light from left": "左侧光",
    "light from right": "右侧光",
    "light from bottom": "底光",
    "light from top": "顶光",
    "Stopped": "已停止",
    "Settings": "设置",
    "Recipe": "配方",
    "Error": "错误",
    "Finishing": "正在收尾",
    "Saving": "正在保存",
    "Loading the model for backgrounds": "正在加载背景模型",
    "Loading the model for environments": "正在加载环境模型",
    "Loading the model for words": "正在加载文字模型",
    "Loading the model …": "正在加载模型…",
    "Model **{name}**; this way of lighting loads with the first request.": (
        "模型 **{name}**；这种打光方式在第一次请求时加载。"
    ),
    "Pass {number} of {count}": "第 {number} 遍，共 {count} 遍",
    "step {step} of {steps}": "第 {step} 步，共 {steps} 步",
    "light {number} of {count}": "第 {number} 盏灯，共 {count} 盏",
    "picture {number} of {count}": "第 {number} 张，共 {count} 张",
    "The mask was another picture's and is put away.": "蒙版属于另一张照片，已移除。",
    "The size was another picture's; now it follows this one.": "尺寸属于另一张照片，现在按这张照片。",
    "Look at the matte: paint it under Matte, or choose there to light the whole picture.": (
        "请看一下蒙版：可在“蒙版”里涂改，或在那里选择给整张照片打光。"
    ),
    "There is nothing for this picture yet.": "这张照片还没有结果。",
    "Cancelled.": "已取消。",
}

CHINESE: dict[str, str] = {**FORM, **ADVANCED, **TABS, **SAID}
