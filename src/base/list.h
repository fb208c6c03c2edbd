/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A doubly linked list threaded through its elements.
 *
 *	head <-> a <-> b <-> head
 *
 * A node belongs to at most one list. list_node_init() makes a node that may be removed
 * safely when it is on no list. Not thread-safe: a list belongs to one thread at a time.
 */
#ifndef BASE_LIST_H
#define BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

#define container_of(pointer, type, member) \
	((type *)((char *)(1 ? (pointer) : &((type *)0)->member) - offsetof(type, member)))

struct list_node {
	struct list_node *prev, *next;
};

struct list {
	struct list_node head;
};

static inline void list_node_init(struct list_node *node)
{
	node->prev = node->next = node;
}

static inline void list_init(struct list *list)
{
	list_node_init(&list->head);
}

static inline bool list_empty(const struct list *list)
{
	return list->head.next == &list->head;
}

static inline void list_insert_before(struct list_node *where, struct list_node *node)
{
	node->prev = where->prev;
	node->next = where;
	where->prev->next = node;
	where->prev = node;
}

static inline void list_push_back(struct list *list, struct list_node *node)
{
	list_insert_before(&list->head, node);
}

static inline void list_push_front(struct list *list, struct list_node *node)
{
	list_insert_before(list->head.next, node);
}

static inline void list_remove(struct list_node *node)
{
	node->prev->next = node->next;
	node->next->prev = node->prev;
	list_node_init(node);
}

/* The first node, or NULL. */
static inline struct list_node *list_first(const struct list *list)
{
	return list_empty(list) ? NULL : list->head.next;
}

/* Takes the first node off; NULL when there is none. */
static inline struct list_node *list_pop_front(struct list *list)
{
	struct list_node *node = list_first(list);

	if (node)
		list_remove(node);
	return node;
}

/* Moves all of from behind the end of to; from is empty afterwards. */
static inline void list_append_all(struct list *to, struct list *from)
{
	if (list_empty(from))
		return;
	from->head.next->prev = to->head.prev;
	to->head.prev->next = from->head.next;
	from->head.prev->next = &to->head;
	to->head.prev = from->head.prev;
	list_init(from);
}

#define list_for_each(node, list) \
	for ((node) = (list)->head.next; (node) != &(list)->head; (node) = (node)->next)

/* The current node may be removed inside the loop. */
#define list_for_each_safe(node, after, list)                                             \
	for ((node) = (list)->head.next, (after) = (node)->next; (node) != &(list)->head; \
		(node) = (after), (after) = (node)->next)

#endif
