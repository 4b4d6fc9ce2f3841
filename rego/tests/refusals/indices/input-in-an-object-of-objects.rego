# panic 1.18-1.18

package a

allow if input.x in {"a": {"b": 1}}
