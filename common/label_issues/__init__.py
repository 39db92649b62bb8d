"""Label issues: ranked, described, reviewed, exported."""

from common.installation import require

require("cleanlab")
