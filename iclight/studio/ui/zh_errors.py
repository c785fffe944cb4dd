"""The engine's sentences in Chinese, by what they look like in English; groups stand for what was found.

Errors that a visitor of a page can meet and mend, and what the page says of its model. What else concerns whoever
started the page stays English.
"""

from __future__ import annotations

WHAT = r"The (?:picture|background|light map|environment map|mask|picture to put behind the subject)"

SENTENCES: dict[str, str] = {
    # What the page says of its model, in the engine's words.
    r"CPU, (\d+) threads \((.*)\)": r"CPU,\1 线程(\2)",
    r"mini runs on this CPU; for sd15 use --model sd15 \(it is on this disk, .*\)\.": (
        "在 CPU 上运行 mini;要用 sd15 请加 --model sd15(已在本机,但每张要几分钟而不是几秒)。"
    ),
    r"mini runs on this CPU; for sd15 use --model sd15 \((.*) to download once, .*\)\.": (
        r"在 CPU 上运行 mini;要用 sd15 请加 --model sd15(首次下载 \1,且每张要几分钟而不是几秒)。"
    ),
    r"mini runs: no env offset was ever published for sd15\.": "正在运行 mini:sd15 从未发布过 env 权重。",
    r"WARNING: the small model mini runs instead of sd15, .*": "注意:正在用小模型 mini 代替 sd15,画面较简单。",
    r"Cancelled\.": "已取消。",
    r"Give a picture first: .*": "请先放入一张照片。",
    r"Give a light map, or choose another light: (.*)\.": r"请放入光照图,或选择别的光源:\1。",
    r"Give a background picture, or choose another light: (.*)\.": r"请放入背景图,或选择别的光源:\1。",
    r"Give an environment map, or choose another light: (.*)\.": r"请放入环境贴图,或选择别的光源:\1。",
    r"Give the picture to put behind the subject, .*": "请放入主体背后的图片,或在“成片”里选择别的背景。",
    rf"{WHAT} is not an image.*": "这个文件不是能读取的图片;请用 PNG、JPEG、WebP 等常见格式。",
    rf"{WHAT} is broken.*": "这个文件已损坏或不完整,无法解码;请重新导出。",
    rf"{WHAT} has more than (\d+) megapixels.*": r"图片超过 \1 百万像素;请先缩小。",
    rf"{WHAT} is (\d+x\d+) pixels; a side may have (\d+)\..*": r"图片为 \1 像素,边长最多 \2;请先缩小。",
    rf"{WHAT} is a file of (\d+) MB; it may have (\d+) MB\.": r"文件有 \1 MB,最多 \2 MB。",
    rf"{WHAT}.* is not a regular file\.": "这不是普通文件。",
    rf"{WHAT} takes too much memory; .*": "解码这个文件占用内存过多;请单独导出一张图片。",
    rf"{WHAT} .* cannot be read \(.*": "无法读取这个文件。",
    rf"{WHAT} is fully transparent.*": "图片完全透明,没有可打光的内容。",
    rf"{WHAT} is empty .*": "图片是空的。",
    r"The mask is (\d+x\d+), the picture (\d+x\d+); .*": r"蒙版为 \1,照片为 \2;两者尺寸须相同。",
    r"The mask is empty.*": "蒙版全为零,没有可打光的内容。",
    r"There is nothing to mix yet: .*": "还没有可混合的光:请先按“从各个方向打光”。",
    r"There are no normals yet: .*": "还没有法线:请先按“估计法线”。",
    r"Press 'Show the matte' first, .*": "请先按“显示蒙版”,再在上面涂改。",
    r"Paint where the light comes from first\.": "请先画出光从哪里来。",
    r"Click a picture first\.": "请先点一张画面。",
    r"That picture is gone; .*": "那张画面已不在;请重新打开“历史”。",
    r"Give a PNG that was made here\.": "请放入在这里生成的 PNG。",
    r"The recipe was made with these LoRA files: (.*)\. Give the same .*": (
        r"这张画面用了这些 LoRA:\1;请启动页面的人用 --lora 给出同样的文件。"
    ),
    r"'?(.*?)'? carries no recipe.*": r"“\1”里没有配方:它不是 iclight 生成的,或途中被别的程序去掉了。",
    r"'?(.*?)'? is not a picture that can be read\.": r"“\1”不是能读取的图片。",
    r"The recipe is broken.*": "配方已损坏。",
    r"The recipe asks for something that does not exist: (.*)": r"配方要求了不存在的东西:\1",
    r"The recipe was written by a newer iclight.*": "配方由更新版本的 iclight 写成;请先升级。",
    r"The recipe's matting network is not the one here .*": "抠图网络与配方的不同,蒙版会不一样;请给出自己的蒙版。",
    r"The recipe's .* is not the loaded one: it was made by '?(.*?)'? \(.*, loaded is '?(.*?)'? \(.*": (
        r"这张画面由模型“\1”生成,现在加载的是“\2”,无法照原样重做。"
    ),
    r"This is not a relit picture; .*": "这不是重新打光的画面;请放入“重新打光”生成的 PNG。",
    r"This was made by the (\w+) workflow: drop it on the page of (.*)\.": r"它由 \1 流程生成:请放到 \2 的页面。",
    r"(\w+) is (.*), but (?:it takes|the \w+ workflow takes one of) (.*)\.": r"\1 是 \2,但应为:\3。",
    r"(.*) is no colour; write #RRGGBB\.": r"\1 不是颜色;请写成 #RRGGBB。",
    r"The model returned a black picture.*": "模型给出了全黑的画面:数值溢出了。",
    rf"{WHAT} is black everywhere.*": "这张环境贴图全黑,里面没有光。",
    rf"{WHAT} holds no colours.*": "文件里没有颜色通道;请导出为 RGB。",
    r"The picture is empty.*": "图片是空的。",
    r"The matte is empty: .*": "蒙版是空的,没有可打光的主体。请画出主体,或把抠图设为 none。",
    r"Nothing of the subject is left: .*": "主体已全部擦去:请用绿色涂出主体。",
    r"The strength of a finish is (.*), but it takes (.*)\.": r"成片强度是 \1,但应为:\2。",
    r"finish_background is 'own', .*": "请放入主体背后的图片,或选择别的背景。",
    r"Light (.*) takes its light from (.*), and none was given: .*": r"光源 \1 需要 \2:请放入,或选择别的光源。",
    r"There is no light (.*) here; there are (.*)\.": r"这里没有光 \1;可用的有:\2。",
    r"A light's colour is (.*), but .*": r"光的颜色是 \1,但应为三个 0 到 1 的数。",
    r"The dial takes .*": "转盘需要角度(度)、0 到 1 的仰角和 0 到 4 的环境光。",
    r"There is no setting named (.*); there are .*": r"没有名为 \1 的设置。",
    r"The model's numbers overflowed .*": "模型的数值溢出,没有得到画面。请降低 CFG,或请启动页面的人改用 float32。",
    r"The VAE's numbers overflowed .*": "自编码器的数值溢出,没有得到画面;请启动页面的人改用 float32。",
    r"(.*) cannot run the (\w+) workflow: .*": r"模型“\1”没有 \2 流程的权重;请换一个页面,或请启动页面的人改用 mini。",
    r"(.*) has no offset for the workflow (\w+); .*": r"模型“\1”没有 \2 流程的权重;请换一个页面。",
    r"There is no env offset for this model: .*": "这个模型没有 env 流程的权重;请换一个页面。",
    r"The .* this was made from .* is not here; .*": "做这张画面用的图片不在这里。",
    r".* is not the .* this was made from: .*": "这不是当时用的图片:像素不同。",
    r"The picture is not valid base64\.": "图片不是有效的 base64 编码。",
    r"A file of this request was not uploaded here: .*": "请求里的文件不是在这里上传的:请先上传,再给出它的路径。",
    r"A file of this request is larger than (\d+) MB; .*": r"请求里的文件超过 \1 MB;请换一个较小的。",
    r"This request could not be answered \((\w+)\)\.": r"无法处理这个请求(\1)。",
    r"The painting is too large\.": "涂画的图片太大。",
    r"The painting cannot be read; .*": "涂画的图片无法读取;请重新涂画。",
}
