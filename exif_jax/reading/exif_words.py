"""The words with which other programs print the codes of EXIF tags.

Each table maps a tag's name in exiftool to word -> code.
"""


def _codes(words: str, first: int = 0, **others: str) -> dict[str, int]:
    """Returns word -> code.

    Args:
      words: Of the codes `first`, `first` + 1, ..., separated by "|".
      first: The code of the first word.
      **others: Words of codes apart, as `_code=words`.
    """
    codes = {word: first + i for i, word in enumerate(words.split("|")) if word}
    return codes | {word: int(code[1:]) for code, word in others.items()}


EXIFREAD_WORDS = {
    "Orientation": _codes(
        "Horizontal (normal)|Mirrored horizontal|Rotated 180|Mirrored vertical|"
        "Mirrored horizontal then rotated 90 CCW|Rotated 90 CW|"
        "Mirrored horizontal then rotated 90 CW|Rotated 90 CCW",
        1,
    ),
    "ResolutionUnit": _codes("Not Absolute|Pixels/Inch|Pixels/Centimeter", 1),
    "YCbCrPositioning": _codes("Centered|Co-sited", 1),
    "ExposureProgram": _codes(
        "Unidentified|Manual|Program Normal|Aperture Priority|Shutter Priority|Program Creative|"
        "Program Action|Portrait Mode|Landscape Mode"
    ),
    "SensitivityType": _codes(
        "Unknown|Standard Output Sensitivity|Recommended Exposure Index|ISO Speed|"
        "Standard Output Sensitivity and Recommended Exposure Index|"
        "Standard Output Sensitivity and ISO Speed|Recommended Exposure Index and ISO Speed|"
        "Standard Output Sensitivity, Recommended Exposure Index and ISO Speed"
    ),
    "MeteringMode": _codes(
        "Unidentified|Average|CenterWeightedAverage|Spot|MultiSpot|Pattern|Partial", _255="other"
    ),
    "LightSource": _codes(
        "Unknown|Daylight|Fluorescent|Tungsten (incandescent light)|Flash|||||Fine weather|"
        "Cloudy weather|Shade|Daylight fluorescent (D 5700 - 7100K)|"
        "Day white fluorescent (N 4600 - 5400K)|Cool white fluorescent (W 3900 - 4500K)|"
        "White fluorescent (WW 3200 - 3700K)||Standard light A|Standard light B|Standard light C|"
        "D55|D65|D75|D50|ISO studio tungsten",
        _255="other light source",
    ),
    "Flash": _codes(
        "Flash did not fire|Flash fired",
        _5="Strobe return light not detected",
        _7="Strobe return light detected",
        _9="Flash fired, compulsory flash mode",
        _13="Flash fired, compulsory flash mode, return light not detected",
        _15="Flash fired, compulsory flash mode, return light detected",
        _16="Flash did not fire, compulsory flash mode",
        _24="Flash did not fire, auto mode",
        _25="Flash fired, auto mode",
        _29="Flash fired, auto mode, return light not detected",
        _31="Flash fired, auto mode, return light detected",
        _32="No flash function",
        _65="Flash fired, red-eye reduction mode",
        _69="Flash fired, red-eye reduction mode, return light not detected",
        _71="Flash fired, red-eye reduction mode, return light detected",
        _73="Flash fired, compulsory flash mode, red-eye reduction mode",
        _77="Flash fired, compulsory flash mode, red-eye reduction mode, return light not detected",
        _79="Flash fired, compulsory flash mode, red-eye reduction mode, return light detected",
        _89="Flash fired, auto mode, red-eye reduction mode",
        _93="Flash fired, auto mode, return light not detected, red-eye reduction mode",
        _95="Flash fired, auto mode, return light detected, red-eye reduction mode",
    ),
    "ColorSpace": _codes("sRGB|Adobe RGB", 1, _65535="Uncalibrated"),
    "SensingMethod": _codes(
        "Not defined|One-chip color area|Two-chip color area|Three-chip color area|"
        "Color sequential area||Trilinear|Color sequential linear",
        1,
    ),
    "FileSource": _codes("Film Scanner|Reflection Print Scanner|Digital Camera", 1),
    "SceneType": _codes("Directly Photographed", 1),
    "CustomRendered": _codes("Normal|Custom"),
    "ExposureMode": _codes("Auto Exposure|Manual Exposure|Auto Bracket"),
    "WhiteBalance": _codes("Auto|Manual"),
    "SceneCaptureType": _codes("Standard|Landscape|Portrait|Night"),
    "GainControl": _codes("None|Low gain up|High gain up|Low gain down|High gain down"),
    "Contrast": _codes("Normal|Soft|Hard"),
    "Saturation": _codes("Normal|Soft|Hard"),
    "Sharpness": _codes("Normal|Soft|Hard"),
}
YFCC_WORDS = {
    "Orientation": _codes(
        "Top, left side (Horizontal / normal)|Top, right side (Mirror horizontal)|"
        "Bottom, right side (Rotate 180)|Bottom, left side (Mirror vertical)|"
        "Left side, top (Mirror horizontal and rotate 270 CW)|Right side, top (Rotate 90 CW)|"
        "Right side, bottom (Mirror horizontal and rotate 90 CW)|Left side, bottom (Rotate 270 CW)",
        1,
    ),
    "ResolutionUnit": _codes("(No unit)|Inch|cm", 1),
    "FocalPlaneResolutionUnit": _codes("(No unit)|Inches|cm", 1),
    "YCbCrPositioning": _codes("Center of pixel array|Datum point", 1),
    "ExposureProgram": _codes(
        "Manual control|Program normal|Aperture priority|Shutter priority|"
        "Program creative (slow program)|Program action (high-speed program)|Portrait mode|"
        "Landscape mode",
        1,
    ),
    "SensitivityType": EXIFREAD_WORDS["SensitivityType"],
    "MeteringMode": _codes(
        "Unknown|Average|Center weighted average|Spot|Multi-spot|Multi-segment|Partial",
        _255="(Other)",
    ),
    # Spelt as that library spells them.
    "LightSource": _codes(
        "Unknown|Daylight|Florescent|Tungsten|Flash|||||Fine Weather|Cloudy|Shade|"
        "Daylight Flourescent|Day White Flourescent|Cool White Flourescent|White Flourescent|"
        "Warm White Flourescent|Standard light|Standard light (B)|Standard light (C)|D55|D65|D75|"
        "D50|Studio Tungsten",
        _255="(Other)",
    ),
    "ColorSpace": _codes("sRGB", 1, _65535="Undefined"),
    "SensingMethod": _codes(
        "(Not defined)|One-chip color area sensor|Two-chip color area sensor|"
        "Three-chip color area sensor|Color sequential area sensor||Trilinear sensor|"
        "Color sequential linear sensor",
        1,
    ),
    "FileSource": _codes("Film Scanner|Reflection Print Scanner|Digital Still Camera (DSC)", 1),
    "SceneType": _codes("Directly photographed image", 1),
    "CustomRendered": _codes("Normal process|Custom process"),
    "ExposureMode": _codes("Auto exposure|Manual exposure|Auto bracket"),
    "WhiteBalance": _codes("Auto white balance|Manual white balance"),
    "SceneCaptureType": _codes("Standard|Landscape|Portrait|Night scene"),
    # In that library's order, in which codes 2 and 3 have each other's words.
    "GainControl": _codes("None|Low gain up|Low gain down|High gain up|High gain down"),
    "Contrast": _codes("None|Soft|Hard"),
    "Saturation": _codes("None|Low saturation|High saturation"),
    "Sharpness": _codes("None|Low|Hard"),
    "SubjectDistanceRange": _codes("Unknown|Macro|Close view|Distant view"),
}
