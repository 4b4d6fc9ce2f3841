# accepted

package a

import data.b.allow

allow if allow.x
