# SPDX-License-Identifier: GPL-2.0-only
# Completion of weir(8) for bash. Verbs, options and their values come from the
# program's own tables (`weir help --complete [VERB]`), so that this file has
# nothing to keep in step with it.

# The words of $1 that begin with $cur.
_weir_words() {
	mapfile -t COMPREPLY < <(compgen -W "$1" -- "$cur")
}

# By a hint of the tables: "iface", "file", "words:a b c", or "-" for no idea.
_weir_hint() {
	case $1 in
	iface)
		_weir_words "$(cd /sys/class/net 2>/dev/null && printf '%s ' *)"
		;;
	file)
		compopt -o filenames 2>/dev/null
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		;;
	words:*)
		_weir_words "${1#words:}"
		;;
	esac
}

_weir() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
	local program=${COMP_WORDS[0]/#\~/$HOME} verb=${COMP_WORDS[1]-}
	local table long short arg hint options='' position=''

	COMPREPLY=()
	if ((COMP_CWORD == 1)); then
		_weir_words "$("$program" help --complete 2>/dev/null | cut -f1)"
		return
	fi

	# bash splits --name=value into three words.
	if [[ $cur == '=' ]]; then
		cur=''
	elif [[ $prev == '=' ]]; then
		prev=${COMP_WORDS[COMP_CWORD - 2]}
	fi
	# In a cluster (-ni) the last letter is the one that takes the value.
	[[ $prev == -[!-]* ]] && prev=-${prev: -1}

	table=$("$program" help --complete "$verb" 2>/dev/null) || return
	while IFS=$'\t' read -r long short arg hint; do
		if [[ $long == - && $short == - ]]; then
			position=$hint
			continue
		fi
		if [[ $arg != - && $prev != - && ($prev == "$long" || $prev == "$short") ]]; then
			_weir_hint "$hint"
			return
		fi
		if [[ $long == - ]]; then
			options+=" $short"
		else
			options+=" $long"
		fi
	done <<<"$table"

	if [[ $cur == -* ]]; then
		_weir_words "$options"
	else
		_weir_hint "$position"
	fi
}

complete -F _weir weir
