#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# The kernel's CHECK= for make lint: sparse 0.6.4 with stand-ins for what it
# does not know yet, as the kernel's make would go on without it otherwise.
# The qualifiers that stay make messages that the base has too. Its errors are
# messages like others, to be compared; they do not end the build.
sparse '-D__typeof_unqual__=__typeof__' \
	'-D__builtin_strlen(x)=(sizeof(x)-1)' "$@" || true
