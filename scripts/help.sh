#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# make help: one line a verb, from the comments of the Makefile.
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

# A verb whose script this version does not have is not offered.
sed -n 's/^## //p' "$TOP/Makefile" | while IFS= read -r line; do
	name=${line%%:*} text=${line#*: }
	verb=${name%% *}
	[ -x "$TOP/scripts/${verb/#distclean/clean}.sh" ] || continue
	printf '  %-36s %s\n' "make $name" "$text"
done
cat <<END

Everywhere: BUILD=folder JOBS=n V=1; KDIR=tree or KERNEL_TARBALL=file instead
of the base that is downloaded; FORCE=1 throws away edits in build/tree.
END
