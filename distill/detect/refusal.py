"""Refusals, and what a model says of itself: neither is for a student to learn.

    I'm sorry, but I can't help with that.          a refusal, where it opens the answer or is most of it
    As an AI developed by OpenAI, ...               an identity, wherever it stands

What is quoted is said by somebody else, and where the problem has such words itself they are about it.
"""

import re

import pyarrow as pa
import pyarrow.compute as pc

OPENING = 240
"""Characters of an answer in which a refusal is one."""
SHORT = 600
"""An answer of up to so many characters is refused wherever it says so."""

_CANNOT = r"(?:can['’]?t|cannot|can not|am unable to|am not able to|won['’]t|will not|am not comfortable)"
_HELP = (
    r"(?:help(?! but)|assist|comply|fulfill?|engage|participate|discuss|support|share that|do that|write that"
    r"|(?:answer|create|generate|provide) (?:that|this|your|any|you|content|information|instructions|assistance|guidance|advice))"
)
_IDIOMS = "help but|believe|wait|stress|overstate|thank|imagine|say enough|recommend"
_UNABLE = rf"(?: {_CANNOT}|['’]m (?:unable|not able) to)(?! (?:{_IDIOMS}))\b"
_REFUSALS = (
    rf"\bsorry,? but (?:as an ai|i(?:['’]m| am) (?:unable|not able)|i {_CANNOT}|i do(?:n['’]t| not) have)",
    rf"\b(?:sorry|unfortunately|apologies),? (?:but )?i {_CANNOT} \w+",
    rf"\bi(?: {_CANNOT}|['’]m (?:unable to|not able to|not comfortable))(?: be able to)? {_HELP}\b",
    rf"\bas an ai(?: language)?(?: model| assistant)?,? i (?:{_CANNOT}|do(?:n['’]t| not))\b",
    rf"\A[^.\n]{{0,60}}\bi{_UNABLE}",
    rf"\A[^.\n]{{0,20}}\b(?:sorry|apologi\w+|unfortunately|regret|afraid)\b[^.\n]{{0,40}}\bi{_UNABLE}",
    r"\A[^.\n]{0,20}\bi(?:['’]m not| do(?:n['’]t| not) feel) comfortable\b",
    r"\bi (?:must|have to) (?:respectfully )?(?:decline|refuse)\b|\bi(?:['’]m| am) not (?:allowed|permitted|programmed) to\b",
    r"\bi do(?:n['’]t| not) have the (?:ability|capability)\b|\bnot something (?:i can|i(?:['’]m| am) able to) help\b",
    r"\b(?:goes|is) against my (?:guidelines|policy|programming|principles)",
    r"\b(?:not possible|impossible) for me to (?:answer|solve|determine|help|see)\b",
    r"(?:抱歉|对不起|很遗憾|不好意思)[，,。 ]*[^。\n]{0,8}(?:我|作为)[^。\n]{0,12}?(?:无法|不能|没法|没有?办法|不可以)",
    r"我(?:无法|不能|没法|没有?办法)(?:提供|协助|帮助|回答|满足|讨论|参与|处理|查看|完成)|超出了?我的能力|我?帮不了你|我没有能力",
)
_REFUSAL = re.compile("|".join(_REFUSALS), re.IGNORECASE)
_SAID = re.compile(rf"\bi{_UNABLE}|我(?:无法|不能)", re.IGNORECASE)
"""Words of a refusal in a problem, which is about them then."""
_MODELS = (
    r"(?:deepseek|qwen|qwq|tongyi|chatgpt|gpt-?[345]|claude|gemini|bard|llama|mistral|kimi|doubao|ernie|chatglm|glm-?[45]|grok"
    r"|copilot|baichuan|internlm|marco-o1)"
)
_VERSIONED = rf"{_MODELS}(?:\w|[-.](?=\w))*(?!\w)"
_MAKERS = (
    r"(?:openai|anthropic|deepseek|alibaba|google|meta|mistral|microsoft|moonshot|baidu|bytedance|zhipu|tencent|xai)"
)
_AN_AI = r"(?:an ai\b|a (?:large )?language model|an artificial intelligence|a chatbot|a virtual assistant)"
_CHINESE_MODELS = rf"(?:通义千问|通义|千问|深度求索|文心一言|豆包|智谱清言|混元|讯飞星火|月之暗面|{_MODELS})"
_IDENTITIES = (
    rf"\b(?:i(?:['’]m| am)|my name is|call me)(?: called| named)? (?:an? )?{_VERSIONED}(?!['’]s| shannon| monet)",
    r"\b(?:as|being) an ai(?: (?:language )?(?:model|assistant))?(?= developed| created| trained| made| i\b|[,.;!?]|\Z)",
    r"\b(?:as|being) (?:a (?:large )?language model|an? (?:ai )?chatbot)",
    rf"\bi(?:['’]m| am) an? {_MAKERS} (?:ai |language )?(?:model|assistant)",
    rf"\b(?:this|the) model was (?:trained|created|developed|made) by {_MAKERS}\b",
    rf"\b{_MAKERS} (?:trained|created|made|built|designed) me\b",
    rf"\bas {_MODELS}[-\w.]*, i\b",
    rf"\bi(?:['’]m| am) (?:just |only |merely )?{_AN_AI}",
    rf"\bi(?:['’]m| am| was) (?:an? [^.\n]{{0,40}})?(?:developed|created|trained|made|built) by {_MAKERS}\b",
    r"\bmy (?:knowledge|training)(?: data)?(?:['’]s)? (?:cut-?off|only goes|goes up|extends|ends)",
    rf"我(?:是|叫|的名字(?:是|叫))(?:一个|一名|由[^。\n]{{0,12}})?{_CHINESE_MODELS}",
    r"(?:作为|我是)(?:一个|一名|一款)?(?:AI|人工智能|大(?:型)?语言模型|语言模型)(?:助手|模型)?",
    r"由(?:阿里云|阿里巴巴|深度求索|百度|字节跳动|月之暗面|智谱|腾讯|OpenAI|Anthropic|谷歌)[^。\n]{0,8}(?:开发|研发|训练|创建|打造)",
)
_IDENTITY = re.compile("|".join(_IDENTITIES), re.IGNORECASE)
_ABOUT = re.compile(
    r"\b(?:ai|a\.i\.|artificial intelligence|language model|llm|chatbot|assistant)s?\b|who (?:are|made|created|built) you"
    rf"|are you (?:a|an|human|real)\b|your name|\b(?:{_MODELS}|openai|anthropic)\b|人工智能|语言模型|你是谁|你叫|助手",
    re.IGNORECASE,
)
_HINTS = (
    r"(?i)\bai\b|language model|artificial intelligence|chatbot|virtual assistant|my knowledge|my training|人工智能|语言模型"
    rf"|\b{_MODELS}|\b{_MAKERS}\b|{_CHINESE_MODELS}|由(?:阿里|深度求索|百度|字节跳动|月之暗面|智谱|腾讯|{_MAKERS}|谷歌)"
)
_QUOTE = re.compile(r"(?:[\"“‘「『]|(?<!\w)')[^\"”’」』\n]{0,60}\Z")


def refusal(prompt: str, answer: str | None) -> str | None:
    """The words with which an answer refuses; None for none."""
    if not answer:
        return None
    scope = answer if len(answer) <= SHORT else answer[:OPENING]
    for match in _REFUSAL.finditer(scope):
        if not _quoted(scope, match.end()) and not _SAID.search(prompt):
            return " ".join(match[0].split())
    return None


def may_identify(texts: pa.Array) -> pa.Array:
    """Whether a text has words that `identity` needs: a look at all texts of a chunk before one at each."""
    return pc.match_substring_regex(texts, _HINTS)


def identity(prompt: str, thinking: str | None, answer: str | None) -> str | None:
    """The words with which a model speaks of itself; None for none, and where the problem is about such."""
    for text in (answer, thinking):
        for match in _IDENTITY.finditer(text or ""):
            if not _quoted(text or "", match.start()):
                return None if _ABOUT.search(prompt) else " ".join(match[0].split())
    return None


def _quoted(text: str, at: int) -> bool:
    """Whether a quotation opens shortly before this place and is not closed by then."""
    return bool(_QUOTE.search(text, max(0, at - 62), at))
